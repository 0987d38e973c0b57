// -v, --tmpfs and --uri of `gantry run`: what files a container gets.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "executor/cli/json.h"

namespace gantry::cli {
// SOURCE:PLACE[:OPTIONS] and PLACE[:OPTIONS].
Result<void> write_mounts(JsonWriter& json, const std::vector<std::string>& volumes,
                          const std::vector<std::string>& tmpfs);
// URI#sha256=HEX[&…]
Result<void> write_uris(JsonWriter& json, const std::vector<std::string>& uris);
}  // namespace gantry::cli
