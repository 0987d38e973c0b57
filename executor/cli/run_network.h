// --network, -p, --dns and --add-host of `gantry run`.
#pragma once

#include "base/result.h"
#include "executor/cli/json.h"
#include "executor/cli/run_request.h"

namespace gantry::cli {
Result<void> write_network(JsonWriter& json, const RunOptions& options);
}  // namespace gantry::cli
