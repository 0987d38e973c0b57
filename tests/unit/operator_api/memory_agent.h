// AgentState as a test sets it.
#pragma once

#include "executor/agent_state.h"

namespace gantry {
class MemoryAgent final : public AgentState {
 public:
  AgentFacts facts() override { return {"id-S0", "host", 15051, total}; }
  AgentFrameworks frameworks() override { return known_frameworks; }
  AgentTasks tasks() override { return known_tasks; }
  std::vector<std::pair<std::string, std::string>> flags() override {
    return {{"data_dir", "/d"}, {"listen_insecure", ""}};
  }
  uint32_t logging_level() override { return level; }
  void set_logging_level(uint32_t to, std::chrono::nanoseconds duration) override {
    level = to;
    level_for = duration;
  }

  ResourceAmounts total{
      .cpus = 400, .mem_mib = 40000, .disk_mib = 20000, .ports = {{31000, 32000}}};
  AgentFrameworks known_frameworks;
  AgentTasks known_tasks;
  uint32_t level = 0;
  std::chrono::nanoseconds level_for{0};
};
}  // namespace gantry
