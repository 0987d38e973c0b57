// What the scheduler knows, for those who look.
#include "executor/scheduler/framework.h"

namespace gantry {
namespace {
// Of what is over, so much is kept to be looked at, and nothing that is large.
constexpr size_t kMostCompleted = 200;
constexpr size_t kLargest = 64u << 10;

template <class T>
void keep_last(std::deque<T>& list, T what, size_t size) {
  if (size > kLargest) return;
  if (list.size() == kMostCompleted) list.pop_front();
  list.push_back(std::move(what));
}

TaskFacts facts_of(const Task& task) {
  TaskFacts out{.framework_id = task.framework_id,
                .id = task.id,
                .agent_id = task.agent_id,
                .raw = task.raw,
                .state = task.state,
                .statuses = task.statuses,
                .forwarded = {}};
  if (!task.pending.empty()) {
    out.forwarded = task.pending.front();
  } else if (!task.statuses.empty()) {
    out.forwarded = task.statuses.back();
  }
  return out;
}
}  // namespace

void Scheduler::remember(TaskPtr task) {
  const size_t size = task->raw.size();
  keep_last(completed_tasks_, std::move(task), size);
}
void Scheduler::remember(FrameworkSpec framework) {
  const size_t size = framework.raw.size();
  keep_last(completed_frameworks_, std::move(framework), size);
}

AgentTasks Scheduler::known_tasks() const {
  AgentTasks out;
  for (const auto& [key, task] : tasks_) {
    auto& list = is_terminal(task->state)            ? out.terminated
                 : task->state == TaskState::staging ? out.queued
                                                     : out.launched;
    list.push_back(facts_of(*task));
  }
  for (const TaskPtr& task : completed_tasks_) out.completed.push_back(facts_of(*task));
  return out;
}

AgentFrameworks Scheduler::known_frameworks() const {
  AgentFrameworks out;
  for (const auto& [id, framework] : frameworks_) out.current.push_back(framework->spec);
  out.completed.assign(completed_frameworks_.begin(), completed_frameworks_.end());
  return out;
}
}  // namespace gantry
