// Scheduler: Mesos' master and agent in one, for the frameworks of this host: subscriptions, offers
// of this host's resources, tasks, status updates in order per task until they are acknowledged.
//
// Threads: loop only. Durable state: TaskRegistry's. Crash: recover() finds each task's container
// (or what became of it) and goes on with the update that was on its way.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/types/scheduler.h"
#include "base/scope.h"
#include "containerizer/containerizer.h"
#include "executor/agent_state.h"
#include "executor/launch_counts.h"
#include "executor/pending_launches.h"
#include "executor/scheduler/subscription.h"
#include "executor/scheduler/task_registry.h"

namespace gantry {
struct SchedulerConfig {
  std::string data_dir;
  std::string hostname;
  ResourceAmounts total;  // of this host
};
// CPUs, memory less 1 GiB or a half for the host, free disk of `data_dir`, ports 31000-32000.
ResourceAmounts host_resources(const std::string& data_dir);

// What the scheduler needs of the wire, and must not know itself.
struct SchedulerCodec {
  // From the bytes TaskRegistry kept.
  std::function<Result<FrameworkSpec>(const std::string& raw)> parse_framework;
  std::function<Result<TaskSpec>(const std::string& raw)> parse_task;
};

class Scheduler {
 public:
  Scheduler(SchedulerConfig config, SchedulerCodec codec, Containerizer& containerizer,
            LaunchCounts& launches, asio::any_io_executor executor);

  // After Containerizer::recover(). Damaged records are named in `damaged`.
  Co<Result<void>> recover(std::vector<std::string>& damaged);
  Co<void> close();

  // A new subscription; an older one of the same framework ends with ERROR "Framework failed over".
  Co<Result<std::shared_ptr<Subscription>>> subscribe(FrameworkSpec framework);
  // The stream has ended on the framework's side.
  void disconnected(const std::shared_ptr<Subscription>& subscription);
  // Errc::not_found: unknown framework; Errc::conflict: not this stream (the wire's 400 and 403).
  Result<void> authorize(const std::string& framework_id, const std::string& stream_id) const;
  // Answers 202: the outcome is an event. Precondition: authorized, not a SubscribeCall.
  Co<Result<void>> handle(SchedulerCall call);

  const std::string& agent_id() const { return agent_id_; }
  const std::string& master_id() const { return master_id_; }
  const SchedulerConfig& config() const { return config_; }
  AgentTasks known_tasks() const;
  AgentFrameworks known_frameworks() const;

 private:
  struct Framework;
  struct Offer {
    std::string framework_id;
    ResourceAmounts resources;
  };
  using FrameworkPtr = std::shared_ptr<Framework>;

  Co<Result<void>> load_identity();
  void adopt(TaskPtr task);

  void on(Framework& framework, AcceptCall call);
  void on(Framework& framework, DeclineCall call);
  void on(Framework& framework, KillCall call);
  void on(Framework& framework, AcknowledgeCall call);
  void on(Framework& framework, ReconcileCall call);

  // Offers
  ResourceAmounts free_resources() const;
  void offer_round();
  void return_offer(const std::string& offer_id, double refuse_seconds);
  Co<void> tick();

  // Tasks
  void start_task(Framework& framework, TaskSpec spec, ResourceAmounts& left);
  Co<void> run_task(TaskPtr task, ContainerSpec spec);
  Co<void> watch_task(TaskPtr task);
  Co<void> kill_task(TaskPtr task, std::chrono::nanoseconds grace);
  Co<void> emit(TaskPtr task, TaskStatus status);
  Co<void> save_after_acknowledge(TaskPtr task);
  void send_front(Task& task);
  TaskState state_of_lost(const Task& task) const;
  TaskStatus ended(const Task& task, const ExitOutcome& outcome) const;
  // A status that is no update of a task's stream: no uuid, not acknowledged, not kept.
  void tell(Framework& framework, const std::string& task_id, TaskState state, std::string message,
            StatusReason reason);
  Co<void> teardown(FrameworkPtr framework);

  // What is over, for those who look.
  void remember(TaskPtr task);
  void remember(FrameworkSpec framework);

  SchedulerConfig config_;
  SchedulerCodec codec_;
  Containerizer& containerizer_;
  LaunchCounts& launches_;
  PendingLaunches pending_;  // of each framework
  asio::any_io_executor executor_;
  TaskRegistry registry_;
  std::string agent_id_, master_id_;
  uint64_t next_framework_ = 0, next_offer_ = 0;
  std::map<std::string, FrameworkPtr> frameworks_;
  std::map<std::string, Offer> offers_;
  std::map<std::pair<std::string, std::string>, TaskPtr> tasks_;  // framework, task
  std::deque<TaskPtr> completed_tasks_;
  std::deque<FrameworkSpec> completed_frameworks_;
  Event wake_;
  Scope scope_;
};
}  // namespace gantry
