// What this host can do, per feature, and what is missing: `gantry doctor`.
#pragma once

#include <vector>

#include "executor/config.h"
#include "executor/operator_backend.h"

namespace gantry {
// Looks, changes nothing. Runs on the offload pool.
std::vector<Finding> examine_host(const Config& config);
}  // namespace gantry
