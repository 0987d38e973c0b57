// OperatorCall: this host as a Mesos agent: flags, log level, resources, frameworks, tasks.
#include "api/wire/json.h"
#include "api/wire/task_messages.h"
#include "api/wire/validate.h"
#include "executor/operator_call.h"

namespace gantry {
namespace {
constexpr uint32_t kMostVerbose = 3;
constexpr std::chrono::nanoseconds kLongestLevel = std::chrono::hours(24 * 365);

using Answer = wire::agent::Response;
using Tasks = google::protobuf::RepeatedPtrField<wire::Task>;

// What Mesos calls a command's executor, in its words.
std::string executor_name(const wire::TaskInfo& info) {
  constexpr size_t kShown = 15;
  const wire::CommandInfo& command = info.command();
  std::string said = command.value();
  for (const std::string& argument : command.arguments()) {
    if (!command.shell()) said += cat(" ", argument);
  }
  if (said.size() > kShown) said = cat(said.substr(0, kShown - 3), "...");
  return wire::to_valid_utf8(
      cat("Command Executor (Task: ", info.task_id().value(),
          ") (Command: ", command.shell() ? cat("sh -c '", said, "')") : cat("[", said, "])")));
}

void allocate(google::protobuf::RepeatedPtrField<wire::Resource>& resources) {
  for (wire::Resource& resource : resources) {
    if (!resource.has_allocation_info()) resource.mutable_allocation_info()->set_role("*");
  }
}

// Errors: none; what was kept was valid once, and what cannot be read any more stays out.
wire::TaskInfo info_of(const TaskFacts& facts) {
  wire::TaskInfo info;
  if (!info.ParseFromString(facts.raw)) info.Clear();
  return info;
}

void task_to_wire(const TaskFacts& facts, wire::Task& out) {
  wire::TaskInfo info = info_of(facts);
  out.set_name(info.name());
  out.mutable_task_id()->set_value(facts.id);
  out.mutable_framework_id()->set_value(facts.framework_id);
  out.mutable_agent_id()->set_value(facts.agent_id);
  out.set_state(static_cast<wire::TaskState>(facts.state));
  out.mutable_resources()->Swap(info.mutable_resources());
  allocate(*out.mutable_resources());
  for (const TaskStatus& status : facts.statuses) wire::write_status(status, *out.add_statuses());
  if (!facts.forwarded.uuid.empty()) {
    out.set_status_update_state(static_cast<wire::TaskState>(facts.forwarded.state));
    out.set_status_update_uuid(facts.forwarded.uuid);
  }
  if (info.has_labels()) out.mutable_labels()->Swap(info.mutable_labels());
  if (info.has_discovery()) out.mutable_discovery()->Swap(info.mutable_discovery());
  if (info.has_container()) out.mutable_container()->Swap(info.mutable_container());
  if (info.command().has_user()) out.set_user(info.command().user());
}

void executor_to_wire(const TaskFacts& facts, wire::ExecutorInfo& out) {
  wire::TaskInfo info = info_of(facts);
  out.mutable_executor_id()->set_value(facts.id);
  out.mutable_framework_id()->set_value(facts.framework_id);
  out.set_name(executor_name(info));
  out.set_source(facts.id);
  if (info.has_command()) out.mutable_command()->Swap(info.mutable_command());
  if (info.has_container()) out.mutable_container()->Swap(info.mutable_container());
  out.mutable_resources()->Swap(info.mutable_resources());
  allocate(*out.mutable_resources());
  if (info.has_labels()) out.mutable_labels()->Swap(info.mutable_labels());
  if (info.has_discovery()) out.mutable_discovery()->Swap(info.mutable_discovery());
}

void framework_to_wire(const FrameworkSpec& spec, wire::FrameworkInfo& out) {
  if (!out.ParseFromString(spec.raw)) out.Clear();
  out.mutable_id()->set_value(spec.id);
  out.set_name(spec.name);
  out.set_user(spec.user);
}

// Called beside the loop: of value types only.
void tasks_to_wire(const AgentTasks& tasks, Answer::GetTasks& out) {
  const auto add = [](const std::vector<TaskFacts>& from, Tasks& to) {
    for (const TaskFacts& facts : from) task_to_wire(facts, *to.Add());
  };
  add(tasks.queued, *out.mutable_queued_tasks());
  add(tasks.launched, *out.mutable_launched_tasks());
  add(tasks.terminated, *out.mutable_terminated_tasks());
  add(tasks.completed, *out.mutable_completed_tasks());
}

void executors_to_wire(const AgentTasks& tasks, Answer::GetExecutors& out) {
  for (const auto* list : {&tasks.queued, &tasks.launched, &tasks.terminated}) {
    for (const TaskFacts& facts : *list) {
      executor_to_wire(facts, *out.add_executors()->mutable_executor_info());
    }
  }
  for (const TaskFacts& facts : tasks.completed) {
    executor_to_wire(facts, *out.add_completed_executors()->mutable_executor_info());
  }
}

void frameworks_to_wire(const AgentFrameworks& frameworks, Answer::GetFrameworks& out) {
  for (const FrameworkSpec& spec : frameworks.current) {
    framework_to_wire(spec, *out.add_frameworks()->mutable_framework_info());
  }
  for (const FrameworkSpec& spec : frameworks.completed) {
    framework_to_wire(spec, *out.add_completed_frameworks()->mutable_framework_info());
  }
}
}  // namespace

Co<http::Response> OperatorCall::get_flags() {
  answer_.mutable_get_flags();
  for (auto& [name, value] : agent_.flags()) {
    auto* flag = answer_.mutable_get_flags()->add_flags();
    flag->set_name(name);
    flag->set_value(value);
  }
  co_return answer(Answer::GET_FLAGS);
}

Co<http::Response> OperatorCall::get_logging_level() {
  answer_.mutable_get_logging_level()->set_level(agent_.logging_level());
  co_return answer(Answer::GET_LOGGING_LEVEL);
}

Co<http::Response> OperatorCall::set_logging_level() {
  const auto& in = call_.set_logging_level();
  const wire::Field field("set_logging_level");
  if (in.level() > kMostVerbose) {
    co_return invalid_call(wire::invalid(field / "level", cat("must be 0 to ", kMostVerbose)));
  }
  if (in.duration().nanoseconds() <= 0 || in.duration().nanoseconds() > kLongestLevel.count()) {
    co_return invalid_call(
        wire::invalid(field / "duration", "must be more than nothing, and a year at most"));
  }
  agent_.set_logging_level(in.level(), std::chrono::nanoseconds(in.duration().nanoseconds()));
  co_return done();
}

Co<http::Response> OperatorCall::get_agent() {
  const AgentFacts facts = agent_.facts();
  auto* out = answer_.mutable_get_agent()->mutable_agent_info();
  out->set_hostname(facts.hostname);
  out->set_port(facts.port);
  wire::write_resources(facts.total, *out->mutable_resources());
  for (wire::Resource& resource : *out->mutable_resources()) resource.clear_allocation_info();
  out->mutable_id()->set_value(facts.id);
  co_return answer(Answer::GET_AGENT);
}

Co<http::Response> OperatorCall::get_frameworks() {
  return answer_beside(Answer::GET_FRAMEWORKS, [known = agent_.frameworks()](Answer& out) {
    frameworks_to_wire(known, *out.mutable_get_frameworks());
  });
}

Co<http::Response> OperatorCall::get_executors() {
  return answer_beside(Answer::GET_EXECUTORS, [known = agent_.tasks()](Answer& out) {
    executors_to_wire(known, *out.mutable_get_executors());
  });
}

Co<http::Response> OperatorCall::get_tasks() {
  return answer_beside(Answer::GET_TASKS, [known = agent_.tasks()](Answer& out) {
    tasks_to_wire(known, *out.mutable_get_tasks());
  });
}

Co<http::Response> OperatorCall::get_operations() {
  answer_.mutable_get_operations();
  co_return answer(Answer::GET_OPERATIONS);
}

Co<http::Response> OperatorCall::get_state() {
  return answer_beside(
      Answer::GET_STATE, [tasks = agent_.tasks(), frameworks = agent_.frameworks()](Answer& out) {
        tasks_to_wire(tasks, *out.mutable_get_state()->mutable_get_tasks());
        executors_to_wire(tasks, *out.mutable_get_state()->mutable_get_executors());
        frameworks_to_wire(frameworks, *out.mutable_get_state()->mutable_get_frameworks());
      });
}
}  // namespace gantry
