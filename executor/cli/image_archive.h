// Images to a tar and back: gantry image save, load; what an import says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "executor/cli/session.h"

namespace gantry::cli {
// `path`: empty: stdout.
Result<int> save_images(Session& session, const std::vector<std::string>& names,
                        const std::string& path);
// `path`: empty: stdin.
Result<int> load_images(Session& session, const std::string& path, bool is_quiet);
// The answer of GANTRY_IMPORT; `done`: "imported".
int report_images(const Session& session, const JsonDocument& answer, std::string_view done);
}  // namespace gantry::cli
