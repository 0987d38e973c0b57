// Cgroup membership and what belongs to a namespace.
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <sys/socket.h>
#include <sys/statfs.h>

#include "launcher/child/child.h"
#include "launcher/child/path.h"
#include "launcher/child/raw.h"

namespace gantry::child {
Outcome join_cgroup(State& s, const Op& op) {
  // KERNEL: "0" is the writer itself: no lookup, and on v1 `tasks` no global lock (architecture
  // §3).
  return check(raw(SYS_write, s.fds[op.fd], "0", 1));
}

Outcome loopback_up() {
  // KERNEL: interface ioctls work on any socket of the namespace; AF_UNIX is always built in.
  RawFd fd(raw(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return fail(fd.error(), Substep::kCreate);
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return check(raw(SYS_ioctl, fd.get(), SIOCSIFFLAGS, &request));
}

namespace {
// A procfs of our own that no mount of the container can cover (CVE-2025-52881).
int64_t private_proc(State& s) {
  if (s.private_proc >= 0) return s.private_proc;
  RawFd context(raw(SYS_fsopen, "proc", FSOPEN_CLOEXEC));
  if (!context.ok()) return -context.error();
  int64_t rc = raw(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (rc < 0) return rc;
  rc = raw(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0);
  if (rc >= 0) s.private_proc = static_cast<int>(rc);
  return rc;
}

// Equal up to spaces: the kernel separates numbers by tabs and ends with a newline.
bool same_value(const char* a, size_t an, const char* b, size_t bn) {
  auto space = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  size_t i = 0, j = 0;
  for (;;) {
    const size_t i0 = i, j0 = j;
    while (i < an && space(a[i])) ++i;
    while (j < bn && space(b[j])) ++j;
    if (i == an || j == bn) return i == an && j == bn;
    if (i0 != 0 && j0 != 0 && (i == i0) != (j == j0)) return false;
    if (a[i++] != b[j++]) return false;
  }
}
}  // namespace

Outcome sysctl(State& s, const Op& op) {
  int64_t proc = private_proc(s);
  if (proc < 0) return fail(proc, Substep::kMount);
  static constexpr uint64_t kResolve =
      RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  RawFd base(open_in_root(static_cast<int>(proc), "sys", O_PATH | O_DIRECTORY, kResolve));
  if (!base.ok()) return fail(base.error(), Substep::kTarget);
  RawFd fd(open_in_root(base.get(), s.plan.text(op.s1), O_WRONLY, kResolve));
  if (!fd.ok()) return fail(fd.error(), Substep::kTarget);
  const char* value = s.plan.text(op.s2);
  int64_t rc = raw(SYS_write, fd.get(), value, length(value));
  if (rc < 0) return fail(rc);
  RawFd reader(open_in_root(base.get(), s.plan.text(op.s1), O_RDONLY, kResolve));
  if (!reader.ok()) return ok();  // write-only ones exist
  char now[1024];
  rc = raw(SYS_read, reader.get(), now, sizeof now);
  if (rc < 0) return ok();
  return same_value(value, length(value), now, static_cast<size_t>(rc))
             ? ok()
             : fail(ERANGE, Substep::kVerify);
}
}  // namespace gantry::child
