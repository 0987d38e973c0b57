// What the kernel tells about any process, alive or not yet reaped.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace gantry {
struct ProcessStat {
  char state = '?';         // field 3 of /proc/PID/stat: R, S, D …
  uint64_t flags = 0;       // field 9
  uint64_t start_time = 0;  // field 22: clock ticks since boot

  // KERNEL: PF_FORKNOEXEC, set by clone, cleared by exec before it closes any descriptor.
  bool has_execed() const { return (flags & 0x40) == 0; }
};
// ENOENT where it has been reaped.
Result<ProcessStat> process_stat(pid_t pid);

// " is stuck in the kernel (request_wait_answer)" of a process that no signal ends, " waits in the
// kernel (…)" of one that would not end by itself; empty where the kernel tells nothing.
std::string describe_wait(pid_t pid);
}  // namespace gantry
