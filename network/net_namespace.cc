#include "network/net_namespace.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/str.h"
#include "base/sys.h"

namespace gantry {
namespace {
// KERNEL: since 6.11 (linux/pidfd.h); the namespace of exactly the process the pidfd holds.
constexpr unsigned long kPidfdGetNetNamespace = _IO(0xFF, 4);

bool is_same_file(int a, int b) {
  struct stat first{}, second{};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

Result<UniqueFd> open_by_pid(int pidfd, pid_t pid) {
  auto opened = sys::open(cat("/proc/", pid, "/ns/net"), O_RDONLY | O_CLOEXEC);
  // ORDER: asked after the open: a process that still lives now had this pid all the time.
  if (sys::pidfd_ended(pidfd)) return Error(Errc::not_found, cat("process ", pid, " has ended"));
  return opened;
}
}  // namespace

Result<UniqueFd> open_own_net_namespace() {
  return sys::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

Result<UniqueFd> open_net_namespace(int pidfd, pid_t pid) {
  UniqueFd fd(::ioctl(pidfd, kPidfdGetNetNamespace, 0));
  if (!fd && errno == ESRCH) return Error(Errc::not_found, cat("process ", pid, " has ended"));
  if (!fd) fd = GANTRY_TRY(open_by_pid(pidfd, pid));
  UniqueFd own = GANTRY_TRY(open_own_net_namespace());
  if (is_same_file(fd.get(), own.get())) {
    return Error(Errc::invalid, cat("process ", pid,
                                    " is in the host's network namespace; a "
                                    "bridge needs a namespace of its own"));
  }
  return fd;
}

Result<void> write_net_sysctl(const std::string& path, std::string_view value) {
  std::string full = cat("/proc/sys/net/", path);
  auto now = sys::read_file(full, 4096);
  if (!now) return std::move(now).error();
  std::string_view text = *now;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text == value) return Result<void>();
  return sys::write_file(full, value).context("set ", full, " to ", value);
}
}  // namespace gantry
