// A tmpfs that is mounted nowhere yet.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
using TmpfsOptions = std::vector<std::pair<std::string, std::string>>;  // "size", "64m"

// Its detached mount, nosuid and nodev: it goes with its last descriptor unless move_mount(2) puts
// it somewhere.
Result<UniqueFd> make_tmpfs(const TmpfsOptions& options);
}  // namespace gantry
