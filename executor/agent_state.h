// AgentState: what Mesos' agent calls ask of this host beyond its containers, in value types: its
// identity and resources, the frameworks and tasks it serves, its settings, and how much it logs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "api/types/task.h"

namespace gantry {
struct AgentFacts {
  std::string id, hostname;
  uint16_t port = 0;  // 0: no TCP
  ResourceAmounts total;
};
struct TaskFacts {
  std::string framework_id, id, agent_id;
  std::string raw;  // TaskSpec::raw
  TaskState state = TaskState::staging;
  std::vector<TaskStatus> statuses;  // in order; after a restart those not yet acknowledged
  TaskStatus forwarded;              // the one that its framework was sent last; without uuid: none
};
struct AgentTasks {
  std::vector<TaskFacts> queued, launched;
  std::vector<TaskFacts> terminated;  // and not yet acknowledged
  std::vector<TaskFacts> completed;   // the last ones since this executor began
};
struct AgentFrameworks {
  std::vector<FrameworkSpec> current, completed;
};

class AgentState {
 public:
  virtual ~AgentState() = default;
  virtual AgentFacts facts() = 0;
  virtual AgentFrameworks frameworks() = 0;
  virtual AgentTasks tasks() = 0;
  // Names as in the configuration file.
  virtual std::vector<std::pair<std::string, std::string>> flags() = 0;

  // 0: what an operator must know; 1: every change asked for; 2: every call.
  virtual uint32_t logging_level() = 0;
  // 0 to 3. Back to what it was at the start after `duration`.
  virtual void set_logging_level(uint32_t level, std::chrono::nanoseconds duration) = 0;
};
}  // namespace gantry
