// A terminal of the container's own: made in its devpts, so that its programs find its name; the
// master leaves by a socket and is nobody's in here.
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "launcher/child/child.h"
#include "launcher/child/path.h"
#include "launcher/child/raw.h"

namespace gantry::child {
namespace {
// SAFETY: in a running container whoever may mount has chosen what is there. It must be a devpts'
// own ptmx, reached without a link (CVE-2025-52565).
int64_t open_ptmx(int root, int flags) {
  RawFd fd(open_in_root(root, "/dev/pts/ptmx", flags, kInRootNoLinks));
  if (!fd.ok()) return -fd.error();
  struct statfs fs;
  struct stat st;
  int64_t rc = raw(SYS_fstatfs, fd.get(), &fs);
  if (rc >= 0) rc = raw(SYS_newfstatat, fd.get(), "", &st, AT_EMPTY_PATH);
  if (rc < 0) return rc;
  const bool is_ptmx =
      fs.f_type == DEVPTS_SUPER_MAGIC && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2);
  return is_ptmx ? fd.release() : -EXDEV;
}

int64_t send(int socket, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  char byte = 't';
  iovec part = {&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fd);
  *reinterpret_cast<int*>(CMSG_DATA(c)) = fd;
  return raw(SYS_sendmsg, socket, &message, MSG_NOSIGNAL);
}
}  // namespace

Outcome terminal(State& s, const Op& op) {
  const int64_t root = root_of(s);
  if (root < 0) return fail(root, Substep::kTarget);
  // Opening something else might do something: it is looked at before and, as that may have become
  // another, after.
  RawFd place(open_ptmx(s.root, O_PATH));
  if (!place.ok()) return fail(place.error(), Substep::kTarget);
  RawFd master(open_ptmx(s.root, O_RDWR | O_NOCTTY | O_NONBLOCK));
  if (!master.ok()) return fail(master.error(), Substep::kTarget);
  const int locked = 0;
  int64_t rc = raw(SYS_ioctl, master.get(), TIOCSPTLCK, &locked);
  if (rc < 0) return fail(rc, Substep::kOption);
  // KERNEL: by the master (4.13): no path leads to a slave that somebody else has put there.
  RawFd slave(raw(SYS_ioctl, master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.ok()) return fail(slave.error(), Substep::kMake);
  const winsize size = {static_cast<unsigned short>(op.a), static_cast<unsigned short>(op.b), 0, 0};
  rc = raw(SYS_ioctl, slave.get(), TIOCSWINSZ, &size);
  if (rc >= 0) rc = raw(SYS_fchown, slave.get(), op.c, -1);
  if (rc < 0) return fail(rc, Substep::kAttribute);
  rc = send(s.fds[op.fd], master.get());
  if (rc < 0) return fail(rc, Substep::kSource);
  // ORDER: whoever keeps it has it before the command runs, or there is no command.
  Outcome kept = barrier(s, {.kind = op.kind, .fd = op.fd, .a = kTerminalBarrier});
  if (kept.error != 0) return kept;
  for (int number = 0; number <= 2 && rc >= 0; ++number) {
    rc = raw(SYS_dup3, slave.get(), number, 0);
  }
  return check(rc, Substep::kAttach);
}
}  // namespace gantry::child
