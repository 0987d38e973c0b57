#include "base/tmpfs.h"

#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"

namespace gantry {
Result<UniqueFd> make_tmpfs(const TmpfsOptions& options) {
  UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
  if (!context) return Error::from_errno(errno, "open a tmpfs");
  for (const auto& [name, value] : options) {
    if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, name.c_str(), value.c_str(),
                  0) != 0) {
      return Error::from_errno(errno, cat("set ", name, " of a tmpfs"));
    }
  }
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return Error::from_errno(errno, "make a tmpfs");
  }
  UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)));
  if (!mount) return Error::from_errno(errno, "mount a tmpfs");
  return mount;
}
}  // namespace gantry
