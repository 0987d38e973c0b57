// Restart policies: whether a container that has ended runs again, and when.
#pragma once

#include "api/types/container_spec.h"
#include "api/types/exit_outcome.h"
#include "base/co.h"

namespace gantry {
struct RestartQuestion {
  RestartPolicy policy;
  ExitOutcome outcome;
  uint32_t restarts = 0;      // so far
  bool was_stopped = false;   // by whoever said stop or kill
  bool after_reboot = false;  // of the host
};
bool wants_restart(const RestartQuestion& question);

// As docker's: 100 ms, doubled by each run that lasted less than 10 s, at most a minute.
Duration restart_delay(uint32_t short_runs);
inline constexpr std::chrono::seconds kLongRun{10};
}  // namespace gantry
