// What the kernel tells about any process, alive or not yet reaped.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

namespace gantry {
struct ProcessStat {
  uint64_t flags = 0;       // field 9 of /proc/PID/stat
  uint64_t start_time = 0;  // field 22: clock ticks since boot

  // KERNEL: PF_FORKNOEXEC, set by clone, cleared by exec before it closes any descriptor.
  bool has_execed() const { return (flags & 0x40) == 0; }
};
// ENOENT where it has been reaped.
Result<ProcessStat> process_stat(pid_t pid);
}  // namespace gantry
