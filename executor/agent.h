// Agent: AgentState of the running executor.
//
// Threads: loop only. Its parts must outlive it.
#pragma once

#include "base/co.h"
#include "executor/agent_state.h"
#include "executor/config.h"
#include "executor/scheduler/scheduler.h"

namespace gantry {
class Agent final : public AgentState {
 public:
  Agent(const Config& config, Scheduler& scheduler, const asio::any_io_executor& executor);

  AgentFacts facts() override;
  AgentFrameworks frameworks() override { return scheduler_.known_frameworks(); }
  AgentTasks tasks() override { return scheduler_.known_tasks(); }
  std::vector<std::pair<std::string, std::string>> flags() override;
  uint32_t logging_level() override;
  void set_logging_level(uint32_t level, std::chrono::nanoseconds duration) override;

 private:
  const Config& config_;
  Scheduler& scheduler_;
  const int first_level_;
  asio::steady_timer revert_;
};
}  // namespace gantry
