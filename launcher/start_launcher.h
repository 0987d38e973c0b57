// Starting and ending the node's gantry-launcher process, and its cgroups.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"

namespace gantry {
struct StartLauncher {
  std::string runtime_dir;
  std::string launcher_binary;  // copied to sealed memfds: nothing a container does reaches them
  std::string logger_binary;
  std::string cgroup_root;
};
// Returns once a launcher listens: the one started, or one that was there already.
Co<Result<void>> start_launcher(StartLauncher options);

// Waits until the launcher (and its logger) have ended, then removes ROOT/launcher, an empty ROOT,
// and their files in the runtime directory.
Co<Result<void>> remove_launcher(pid_t launcher, std::string runtime_dir, std::string cgroup_root);

// Mount points of every cgroup hierarchy (v1 and v2) this process sees.
Result<std::vector<std::string>> cgroup_mount_points();
}  // namespace gantry
