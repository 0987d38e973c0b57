// What an executor must have to itself besides its runtime directory: its cgroups and its data
// directory. One that shared them with the executor of another runtime directory would take the
// other's containers for left-overs, and end them.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// Errc::busy when processes of another runtime directory's launcher are in CGROUP_ROOT.
Result<void> check_cgroup_root(const std::string& cgroup_root, const std::string& runtime_dir);

// The lock DATA/lock, held while the descriptor is open; it names the runtime directory, for the
// time after a crash. Errc::busy when it is, or was left by, the executor of another runtime
// directory whose launcher lives, or when containers of this runtime directory have their data
// elsewhere.
Result<UniqueFd> claim_data_dir(const std::string& data_dir, const std::string& runtime_dir);
}  // namespace gantry
