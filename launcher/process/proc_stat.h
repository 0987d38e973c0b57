// /proc/PID/stat without allocation.
#pragma once

#include <stdint.h>

namespace gantry::launcher {
struct ProcStat {
  uint64_t flags = 0;       // field 9
  uint64_t start_time = 0;  // field 22: clock ticks since boot

  // KERNEL: PF_FORKNOEXEC, set by clone, cleared by exec before it closes any descriptor.
  bool has_execed() const { return (flags & 0x40) == 0; }
};
// False when the process has been reaped.
bool read_proc_stat(int pid, ProcStat* out);
}  // namespace gantry::launcher
