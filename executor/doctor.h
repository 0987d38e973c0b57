// What this host can do, per feature, and what is missing: `gantry doctor`.
#pragma once

#include <vector>

#include "executor/config.h"
#include "executor/operator_backend.h"

namespace gantry {
// Changes nothing that stays, but the kernel may load modules that it looks for. CRIU is asked by
// the daemon, which can start it. Runs on the offload pool.
std::vector<Finding> examine_host(const Config& config);
}  // namespace gantry
