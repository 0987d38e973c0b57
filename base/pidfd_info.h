// KERNEL: PIDFD_GET_INFO of include/uapi/linux/pidfd.h, Linux 6.15; Debian 12's headers are older.
// Plain C types only: the static programs use it too.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace gantry {
struct PidfdInfo {
  uint64_t mask, cgroupid;
  uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
inline constexpr uint64_t kPidfdInfoExit = 1u << 3;
inline constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);
}  // namespace gantry
