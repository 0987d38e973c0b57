// Starting and ending the node's gantry-launcher process, and its cgroups.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// gantry-launcher and gantry-logger in sealed memfds: nothing a container does reaches them, and
// an executor starts and restarts the ones it was built with, whatever becomes of the files.
struct LauncherPrograms {
  UniqueFd launcher, logger;
  std::string build;  // a name of their contents, below kKeyBytes bytes; only ever compared
};
Result<LauncherPrograms> load_launcher_programs(const std::string& launcher_binary,
                                                const std::string& logger_binary);

struct StartLauncher {
  std::string runtime_dir;
  std::string cgroup_root;
};
// Returns once a launcher listens: the one started, or one that was there already. `programs`
// outlives it.
enum class LauncherWas { started, there };
Co<Result<LauncherWas>> start_launcher(const LauncherPrograms& programs, StartLauncher options);

// Waits until the launcher (and its logger) have ended, then removes ROOT/launcher, an empty ROOT,
// and their files in the runtime directory.
Co<Result<void>> remove_launcher(pid_t launcher, std::string runtime_dir, std::string cgroup_root);

// Mount points of every cgroup hierarchy (v1 and v2) this process sees.
Result<std::vector<std::string>> cgroup_mount_points();
}  // namespace gantry
