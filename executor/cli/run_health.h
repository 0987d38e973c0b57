// The flags of `gantry run` about health checks, as members of its request.
#pragma once

#include "base/result.h"
#include "executor/cli/run_request.h"

namespace gantry::cli {
// What contradicts itself.
Result<void> check_health(const RunOptions& options);
Result<void> write_health(JsonWriter& json, const RunOptions& options);
}  // namespace gantry::cli
