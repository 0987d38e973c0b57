// What `--format` may name: the members of a message, by their paths.
#pragma once

#include <string_view>

#include "base/result.h"

namespace gantry::cli {
// Refuses {{.container.stat}}, with those that there are. What is absent in an answer, but may be
// there, is none of a format's faults. `message`: "GantryInspectResponse" (members_table.h).
Result<void> check_members(std::string_view format, std::string_view message);
}  // namespace gantry::cli
