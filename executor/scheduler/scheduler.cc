#include "executor/scheduler/scheduler.h"

#include <csignal>
#include <cstring>

#include "api/types/container_id.h"
#include "base/record_file.h"
#include "base/path_at.h"
#include "base/sys.h"
#include "executor/scheduler/framework.h"

namespace gantry {
namespace {
constexpr auto kFirstResend = std::chrono::seconds(10);
constexpr auto kLastResend = std::chrono::minutes(10);
}  // namespace

Scheduler::Scheduler(SchedulerConfig config, SchedulerCodec codec, Containerizer& containerizer,
                     LaunchCounts& launches, asio::any_io_executor executor)
    : config_(std::move(config)),
      codec_(std::move(codec)),
      containerizer_(containerizer),
      launches_(launches),
      executor_(executor),
      registry_(config_.data_dir, executor),
      wake_(executor),
      scope_(executor) {}

// ---- Start and end ---------------------------------------------------------------------------

// The ids of this host as frameworks know it: made once, kept for ever.
Co<Result<void>> Scheduler::load_identity() {
  DirFd dir = GANTRY_CO_TRY(DirFd::open(config_.data_dir));
  auto stored = read_record(dir.get(), "agent_id");
  if (!stored) {
    stored = format_uuid(make_uuid());
    GANTRY_CO_TRY(co_await offload([&dir, id = *stored] {
      return write_record(dir.get(), "agent_id", id, Durability::disk);
    }));
  }
  master_id_ = *stored;
  agent_id_ = cat(master_id_, "-S0");
  co_return Result<void>();
}

Co<Result<void>> Scheduler::recover(std::vector<std::string>& damaged) {
  GANTRY_CO_TRY(co_await load_identity());
  TaskRegistry::Recovered found = GANTRY_CO_TRY(registry_.recover(damaged));
  for (const FrameworkSpec& stored : found.frameworks) {
    auto spec = codec_.parse_framework(stored.raw);
    if (!spec) {
      damaged.push_back(cat("framework ", stored.id, ": ", spec.error().to_string()));
      continue;
    }
    spec->id = stored.id;
    auto framework = std::make_shared<Framework>(std::move(*spec));
    framework->disconnected_since = now();
    // New ids must not collide with those given before.
    uint64_t number = 0;
    std::string_view tail(stored.id);
    tail.remove_prefix(std::min(tail.size(), tail.rfind('-') + 1));
    if (parse_number(tail, number)) next_framework_ = std::max(next_framework_, number + 1);
    frameworks_.emplace(stored.id, std::move(framework));
  }
  for (TaskPtr& task : found.tasks) adopt(std::move(task));
  scope_.spawn(tick());
  co_return Result<void>();
}

void Scheduler::adopt(TaskPtr task) {
  task->agent_id = agent_id_;
  if (auto spec = codec_.parse_task(task->raw)) {
    task->resources = spec->resources;
    task->kill_grace = spec->kill_grace;
  }
  for (TaskStatus& status : task->pending) {
    status.agent_id = agent_id_;
    status.executor_id = task->id;
  }
  task->statuses = {task->pending.begin(), task->pending.end()};
  tasks_[{task->framework_id, task->id}] = task;
  if (!is_terminal(task->state)) scope_.spawn(watch_task(task));
}

Co<void> Scheduler::close() {
  for (auto& [id, framework] : frameworks_) {
    if (framework->subscription) framework->subscription->close();
  }
  co_await scope_.close();
}

// ---- Frameworks ------------------------------------------------------------------------------

Co<Result<std::shared_ptr<Subscription>>> Scheduler::subscribe(FrameworkSpec spec) {
  bool is_new = spec.id.empty();
  if (is_new) {
    std::string number = cat(next_framework_++);
    spec.id =
        cat(master_id_, "-", std::string(4 - std::min<size_t>(4, number.size()), '0'), number);
  }
  std::string id = spec.id;
  GANTRY_CO_TRY(co_await registry_.save_framework(spec));
  FrameworkPtr& framework = frameworks_[id];
  if (!framework) framework = std::make_shared<Framework>(spec);
  if (framework->subscription) {
    framework->subscription->push(ErrorEvent{"Framework failed over"});
    framework->subscription->close();
  }
  // Offers of the old stream are void; what they held is offered anew.
  for (const std::string& offer : std::set<std::string>(framework->offers)) return_offer(offer, 0);
  framework->spec = std::move(spec);
  framework->is_suppressed = false;
  framework->refused_until = {};
  auto subscription = std::make_shared<Subscription>(executor_, id, format_uuid(make_uuid()));
  framework->subscription = subscription;
  subscription->push(SubscribedEvent{.framework_id = id,
                                     .master_id = master_id_,
                                     .hostname = config_.hostname,
                                     .version = "1.11.0"});
  subscription->push(HeartbeatEvent{});
  for (auto& [key, task] : tasks_) {
    if (key.first != id) continue;
    task->backoff = {};
    send_front(*task);
  }
  wake_.notify();
  co_return subscription;
}

void Scheduler::disconnected(const std::shared_ptr<Subscription>& subscription) {
  for (auto& [id, framework] : frameworks_) {
    if (framework->subscription != subscription) continue;
    framework->subscription->close();
    framework->subscription.reset();
    framework->disconnected_since = now();
    for (const std::string& offer : std::set<std::string>(framework->offers)) {
      return_offer(offer, 0);
    }
  }
  wake_.notify();
}

Result<void> Scheduler::authorize(const std::string& framework_id,
                                  const std::string& stream_id) const {
  auto it = frameworks_.find(framework_id);
  if (it == frameworks_.end()) return Error(Errc::not_found, "Framework cannot be found");
  if (!it->second->subscription) return Error(Errc::conflict, "Framework is not subscribed");
  if (it->second->subscription->stream_id != stream_id) {
    return Error(Errc::invalid,
                 "The stream ID included in this request didn't match the stream "
                 "ID currently associated with the framework");
  }
  return {};
}

Co<Result<void>> Scheduler::handle(SchedulerCall call) {
  auto it = frameworks_.find(call.framework_id);
  if (it == frameworks_.end()) co_return Error(Errc::not_found, "Framework cannot be found");
  FrameworkPtr framework = it->second;
  if (auto* accept = std::get_if<AcceptCall>(&call.call)) on(*framework, std::move(*accept));
  if (auto* decline = std::get_if<DeclineCall>(&call.call)) on(*framework, std::move(*decline));
  if (auto* kill = std::get_if<KillCall>(&call.call)) on(*framework, std::move(*kill));
  if (auto* ack = std::get_if<AcknowledgeCall>(&call.call)) on(*framework, std::move(*ack));
  if (auto* reconcile = std::get_if<ReconcileCall>(&call.call)) {
    on(*framework, std::move(*reconcile));
  }
  if (std::holds_alternative<ReviveCall>(call.call)) {
    framework->is_suppressed = false;
    framework->refused_until = {};
    wake_.notify();
  }
  if (std::holds_alternative<SuppressCall>(call.call)) framework->is_suppressed = true;
  if (std::holds_alternative<TeardownCall>(call.call)) co_await teardown(framework);
  co_return Result<void>();
}

Co<void> Scheduler::teardown(FrameworkPtr framework) {
  std::string id = framework->spec.id;
  for (const std::string& offer : std::set<std::string>(framework->offers)) return_offer(offer, 0);
  frameworks_.erase(id);
  if (framework->subscription) framework->subscription->close();
  std::vector<TaskPtr> tasks;
  for (auto& [key, task] : tasks_) {
    if (key.first == id) tasks.push_back(task);
  }
  for (const TaskPtr& task : tasks) {
    task->kill_asked = true;
    if (auto container = ContainerId::parse(task->container_id)) {
      (co_await containerizer_.destroy(*container))
          .ignore("gone, or its own error is logged there");
    }
    (co_await registry_.remove(task)).ignore("found and ended at the next recovery");
    tasks_.erase({id, task->id});
    remember(task);
  }
  remember(framework->spec);
  (co_await registry_.remove_framework(id)).ignore("found again, without tasks");
  wake_.notify();
}

// ---- Tasks -----------------------------------------------------------------------------------

void Scheduler::start_task(Framework& framework, TaskSpec spec, ResourceAmounts& left) {
  const std::string& framework_id = framework.spec.id;
  std::optional<std::string> problem = spec.problem;
  if (!problem && tasks_.contains({framework_id, spec.id})) {
    problem = cat("Task has duplicate ID: ", spec.id);
  }
  if (!problem && spec.agent_id != agent_id_) {
    problem =
        cat("Task uses invalid agent ", spec.agent_id, " while agent ", agent_id_, " is expected");
  }
  if (!problem && !fits(spec.resources, left)) {
    problem = cat("Total resources ", to_text(spec.resources),
                  " required by task and its executor is more than available ", to_text(left));
  }
  if (problem) {
    tell(framework, spec.id, TaskState::error, *problem, StatusReason::task_invalid);
    return;
  }
  subtract(left, spec.resources);
  auto task = std::make_shared<Task>(executor_);
  task->framework_id = framework_id;
  task->id = spec.id;
  task->container_id = spec.container_id;
  task->agent_id = agent_id_;
  task->raw = std::move(spec.raw);
  task->resources = spec.resources;
  task->kill_grace = spec.kill_grace;
  if (spec.container.process.user.text.empty())
    spec.container.process.user.text = framework.spec.user;
  tasks_[{framework_id, task->id}] = task;
  scope_.spawn(run_task(task, std::move(spec.container)));
}

Co<void> Scheduler::run_task(TaskPtr task, ContainerSpec spec) {
  // ORDER: registered on disk before anything runs, so that a reboot cannot make it forgotten.
  co_await emit(task, {.state = TaskState::starting});
  ContainerId id = *ContainerId::parse(task->container_id);
  auto place = co_await pending_.take(task->framework_id);
  if (!place) co_return;
  if (!task->kill_asked) {
    spec.labels["gantry.framework"] = task->framework_id;
    spec.labels["gantry.task"] = task->id;
    const auto begun = now();
    auto launched = co_await containerizer_.launch(id, std::move(spec));
    place.reset();
    if (launched) {
      launches_.succeed(now() - begun);
      ContainerPtr container = containerizer_.find(id);
      if (container && container->process) task->pid = container->process->pid();
      co_await emit(task, {.state = TaskState::running});
      co_await watch_task(task);
      co_return;
    }
    launches_.fail();
    if (!task->kill_asked) {
      co_await emit(task, {.state = TaskState::failed,
                           .message = launched.error().to_string(),
                           .source = StatusSource::agent,
                           .reason = StatusReason::container_launch_failed});
      co_return;
    }
  }
  co_await emit(task, {.state = TaskState::killed,
                       .message = "Task killed before it was launched",
                       .source = StatusSource::agent,
                       .reason = StatusReason::task_killed_during_launch});
}

Co<void> Scheduler::watch_task(TaskPtr task) {
  ContainerId id = *ContainerId::parse(task->container_id);
  ContainerPtr container = containerizer_.find(id);
  if (!container) {
    co_await emit(task, {.state = state_of_lost(*task),
                         .message = "The container of this task is gone: the host was restarted",
                         .source = StatusSource::agent,
                         .reason = StatusReason::agent_restarted});
    co_return;
  }
  if (container->process) task->pid = container->process->pid();
  auto outcome = co_await containerizer_.wait(id);
  if (co_await is_cancelled()) co_return;
  if (!outcome) {
    outcome = ExitOutcome{ExitOutcome::Kind::lost, 0, false, outcome.error().to_string()};
  }
  co_await emit(task, ended(*task, *outcome));
}

TaskState Scheduler::state_of_lost(const Task& task) const {
  auto framework = frameworks_.find(task.framework_id);
  const bool is_aware = framework != frameworks_.end() && framework->second->spec.partition_aware;
  return is_aware ? TaskState::gone : TaskState::lost;
}

TaskStatus Scheduler::ended(const Task& task, const ExitOutcome& outcome) const {
  TaskStatus status;
  switch (outcome.kind) {
    case ExitOutcome::Kind::exited:
      status.state = outcome.code == 0 ? TaskState::finished : TaskState::failed;
      status.message = cat("Command exited with status ", outcome.code);
      break;
    case ExitOutcome::Kind::signalled:
      status.state = TaskState::failed;
      status.message = cat("Command terminated with signal ", ::strsignal(outcome.code));
      break;
    case ExitOutcome::Kind::limited:
      status.state = TaskState::failed;
      status.source = StatusSource::agent;
      status.reason = outcome.resource == "memory" ? StatusReason::container_limitation_memory
                                                   : StatusReason::container_limitation;
      status.message = outcome.reason;
      return status;
    case ExitOutcome::Kind::lost:
      status.state = state_of_lost(task);
      status.source = StatusSource::agent;
      status.reason = StatusReason::executor_terminated;
      status.message = outcome.reason;
      return status;
    case ExitOutcome::Kind::failed:
      status.state = TaskState::failed;
      status.source = StatusSource::agent;
      status.reason = StatusReason::container_launch_failed;
      status.message = outcome.reason;
      return status;
  }
  if (task.kill_asked) status.state = TaskState::killed;
  return status;
}

Co<void> Scheduler::emit(TaskPtr task, TaskStatus status) {
  status.agent_id = agent_id_;
  status.executor_id = task->id;
  bool terminal = is_terminal(status.state);
  append_update(*task, std::move(status));
  // Torn down meanwhile: a record of it would stay for ever.
  if (!tasks_.contains({task->framework_id, task->id})) co_return;
  for (int attempt = 0;; ++attempt) {
    if (co_await registry_.save(task)) break;
    // A full disk: the update waits for room, and is not sent before it is safe.
    co_await sleep_for(std::chrono::seconds(std::min(attempt + 1, 10)));
    if (co_await is_cancelled()) co_return;
  }
  if (task->pending.size() == 1 || task->backoff == Duration{}) send_front(*task);
  if (terminal) wake_.notify();  // its resources are free
}

void Scheduler::send_front(Task& task) {
  if (task.pending.empty() || task.durable == 0) return;
  auto framework = frameworks_.find(task.framework_id);
  if (framework == frameworks_.end() || !framework->second->subscription) return;
  framework->second->subscription->push(UpdateEvent{task.pending.front()});
  task.backoff = task.backoff == Duration{} ? Duration(kFirstResend)
                                            : std::min<Duration>(task.backoff * 2, kLastResend);
  task.next_send = now() + task.backoff;
}

void Scheduler::on(Framework& framework, AcknowledgeCall call) {
  auto it = tasks_.find({framework.spec.id, call.task_id});
  if (it == tasks_.end() || call.agent_id != agent_id_) return;
  TaskPtr task = it->second;
  // Only the one that is out can be acknowledged; late and doubled ones change nothing.
  if (task->pending.empty() || task->pending.front().uuid != call.uuid) return;
  bool was_terminal = is_terminal(task->pending.front().state);
  task->pending.pop_front();
  if (task->durable > 0) --task->durable;
  task->backoff = {};
  if (was_terminal && task->pending.empty()) {
    tasks_.erase(it);
    remember(task);
  }
  scope_.spawn(save_after_acknowledge(task));
  send_front(*task);
}

// An acknowledgement that a crash makes us forget only means that the update is sent once more.
Co<void> Scheduler::save_after_acknowledge(TaskPtr task) {
  if (is_terminal(task->state) && task->pending.empty()) {
    (co_await registry_.remove(task)).ignore("then it is sent once more after a restart");
  } else {
    (co_await registry_.save(task)).ignore("then it is sent once more after a restart");
  }
}

void Scheduler::on(Framework& framework, KillCall call) {
  auto it = tasks_.find({framework.spec.id, call.task_id});
  if (it == tasks_.end()) {
    tell(framework, call.task_id,
         framework.spec.partition_aware ? TaskState::gone : TaskState::lost,
         "Attempted to kill an unknown task", StatusReason::reconciliation);
    return;
  }
  TaskPtr task = it->second;
  if (is_terminal(task->state) || task->kill_asked) return;
  task->kill_asked = true;
  scope_.spawn(kill_task(task, call.grace.value_or(task->kill_grace)));
}

Co<void> Scheduler::kill_task(TaskPtr task, std::chrono::nanoseconds grace) {
  auto framework = frameworks_.find(task->framework_id);
  if (framework != frameworks_.end() && framework->second->spec.task_killing_state &&
      task->state == TaskState::running) {
    co_await emit(task, {.state = TaskState::killing});
  }
  ContainerId id = *ContainerId::parse(task->container_id);
  auto whole = std::chrono::ceil<std::chrono::seconds>(grace);
  (co_await containerizer_.stop(id, whole, SIGTERM)).ignore("its watch reports how it ended");
}

void Scheduler::tell(Framework& framework, const std::string& task_id, TaskState state,
                     std::string message, StatusReason reason) {
  if (!framework.subscription) return;
  TaskStatus status;
  status.task_id = task_id;
  status.state = state;
  status.message = std::move(message);
  status.source = StatusSource::master;
  status.reason = reason;
  status.agent_id = agent_id_;
  status.timestamp = static_cast<double>(sys::realtime_ns()) / 1e9;
  framework.subscription->push(UpdateEvent{std::move(status)});
}

void Scheduler::on(Framework& framework, ReconcileCall call) {
  auto answer = [&](const Task& task) {
    if (!framework.subscription) return;
    TaskStatus status;
    status.task_id = task.id;
    status.state = task.state;
    status.message = "Reconciliation: Latest task state";
    status.source = StatusSource::master;
    status.reason = StatusReason::reconciliation;
    status.agent_id = agent_id_;
    status.container_id = task.container_id;
    status.executor_pid = task.pid;
    status.timestamp = static_cast<double>(sys::realtime_ns()) / 1e9;
    framework.subscription->push(UpdateEvent{std::move(status)});
  };
  if (call.tasks.empty()) {
    for (auto& [key, task] : tasks_) {
      if (key.first == framework.spec.id && !is_terminal(task->state)) answer(*task);
    }
  }
  for (auto& [task_id, agent] : call.tasks) {
    auto it = tasks_.find({framework.spec.id, task_id});
    if (it != tasks_.end()) {
      answer(*it->second);
      continue;
    }
    TaskState state = !framework.spec.partition_aware ? TaskState::lost
                      : agent == agent_id_            ? TaskState::gone
                                                      : TaskState::unknown;
    tell(framework, task_id, state, "Reconciliation: Task is unknown",
         StatusReason::reconciliation);
  }
}

// ---- Time --------------------------------------------------------------------------------------

// Offers, resends and failover timeouts: woken by what changes, and by the clock only while
// somebody waits for it.
Co<void> Scheduler::tick() {
  while (!co_await is_cancelled()) {
    offer_round();
    std::optional<Duration> look_again;
    for (auto& [key, task] : tasks_) {
      if (task->pending.empty() || task->backoff == Duration{}) continue;
      if (task->next_send <= now()) send_front(*task);
      look_again = std::chrono::seconds(1);
    }
    std::vector<FrameworkPtr> overdue;
    for (auto& [id, framework] : frameworks_) {
      if (framework->subscription) {
        if (framework->refused_until > now()) look_again = std::chrono::milliseconds(200);
        continue;
      }
      look_again = std::chrono::seconds(1);
      if (now() - framework->disconnected_since >= seconds(framework->spec.failover_timeout)) {
        overdue.push_back(framework);
      }
    }
    for (const FrameworkPtr& framework : overdue) co_await teardown(framework);
    co_await wake_.wait(look_again);
  }
}
}  // namespace gantry
