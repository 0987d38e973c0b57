// What gantry-launcher does before it serves: a process of its own, in a cgroup of its own, with
// nothing of whoever started it (architecture §4, normalised processes).
#pragma once

#include "launcher/process/launcher.h"

namespace gantry::launcher {
// Session, directory, umask, limits, keyring, scheduling; and only the descriptors named stay.
// nullptr, or what failed.
const char* normalise(int keep_fd);
// Moves this process into ROOT/launcher of every mounted cgroup hierarchy. nullptr, or what failed.
const char* enter_cgroups(const char* root);
}  // namespace gantry::launcher
