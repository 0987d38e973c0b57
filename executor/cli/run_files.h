// -v, --tmpfs, --mount, --shm-size and --uri of `gantry run`: what files a container gets.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "executor/cli/json.h"
#include "executor/cli/run_request.h"

namespace gantry::cli {
Result<void> write_mounts(JsonWriter& json, const RunOptions& options);
// URI#sha256=HEX[&…]
Result<void> write_uris(JsonWriter& json, const std::vector<std::string>& uris);
}  // namespace gantry::cli
