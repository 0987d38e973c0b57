// Control, descriptors, scheduling, limits and exec.
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>

#include "launcher/child/child.h"
#include "launcher/child/raw.h"

namespace gantry::child {
namespace {
// One byte of a pipe; end-of-file or an error ends the child: whoever was to send it is gone.
void await_byte(int fd) {
  char byte;
  int64_t n;
  do {
    n = raw(SYS_read, fd, &byte, 1);
  } while (n == -EINTR);
  if (n != 1) exit_now(kExitNoSignal);
}
}  // namespace

Outcome wait_signal(State& s, const Op& op) {
  await_byte(s.fds[op.fd]);
  return ok();
}

Outcome barrier(State& s, const Op& op) {
  const ChildReport report = {s.op_index, static_cast<uint16_t>(op.kind), 1, 0,
                              static_cast<uint32_t>(op.a)};
  Outcome sent = check(raw(SYS_write, s.report_fd, &report, sizeof report));
  // Nobody reads any more: the byte will not come either.
  if (sent.error == EPIPE) exit_now(kExitNoSignal);
  if (sent.error != 0) return sent;
  await_byte(s.fds[op.fd]);
  return ok();
}

Outcome parent_death_signal(State& s, const Op& op) {
  int64_t rc = raw(SYS_prctl, PR_SET_PDEATHSIG, op.a, 0, 0, 0);
  if (rc < 0) return fail(rc);
  int set = -1;
  rc = raw(SYS_prctl, PR_GET_PDEATHSIG, &set, 0, 0, 0);
  if (rc < 0 || set != static_cast<int>(op.a)) return fail(EINVAL, Substep::kVerify);
  const int parent = op.fd >= 0 ? s.fds[op.fd] : s.parent_pidfd;
  if (op.a == 0 || parent < 0) return ok();
  // KERNEL: a parent that died before the prctl sends nothing; getppid is 0 in a new pid namespace
  // whether it lives or not, so its pidfd is asked.
  pollfd p = {parent, POLLIN, 0};
  timespec now = {0, 0};
  if (raw(SYS_ppoll, &p, 1, &now, nullptr, 8) == 1) exit_now(kExitNoSignal);
  return ok();
}

// SAFETY: whoever is in that namespace sees the new child from its first moment, and one with
// CAP_SYS_PTRACE could take what it has: it has nothing but the command's own rights any more, and
// no descriptor that leads out (CVE-2016-9962).
Outcome fork_child(State& s, const Op& op) {
  const int kept = s.fds[op.fd];
  const int low = kept < s.report_fd ? kept : s.report_fd;
  const int high = kept < s.report_fd ? s.report_fd : kept;
  int64_t rc = raw(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (rc >= 0 && low > 3) rc = raw(SYS_close_range, 3, low - 1, 0);
  if (rc >= 0 && high > low + 1) rc = raw(SYS_close_range, low + 1, high - 1, 0);
  if (rc >= 0) rc = raw(SYS_close_range, high + 1, ~0u, 0);
  if (rc < 0) return fail(rc, Substep::kAttribute);
  s.root = s.staging = s.parent_fd = s.empty_tree = s.null_device = s.null_spare = -1;
  s.private_proc = s.parent_pidfd = -1;
  // KERNEL: not clone3, whose flags a filter cannot see and therefore refuses. The death signal is
  // not inherited; the end of `kept` does its work.
  const int64_t pid = raw(SYS_clone, CLONE_PARENT, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) return fail(pid);
  if (pid > 0) {
    const ChildReport report = {s.op_index, static_cast<uint16_t>(op.kind), 1, 0,
                                kForkBarrier | static_cast<uint32_t>(pid)};
    raw(SYS_write, s.report_fd, &report, sizeof report);
    exit_now(0);
  }
  await_byte(kept);
  return ok();
}

Outcome duplicate(State& s, const Op& op) {
  const int from = s.fds[op.fd];
  const int to = static_cast<int>(op.a);
  if (op.a >= kFirstInheritedFd) s.has_helper_fds = true;
  // KERNEL: dup3 refuses equal numbers, and dup2 would leave close-on-exec set.
  if (from == to) return check(raw(SYS_fcntl, to, F_SETFD, 0));
  return check(raw(SYS_dup3, from, to, 0));
}

Outcome nice_value(const Op& op) {
  const int wanted = static_cast<int>(op.a);
  int64_t rc = raw(SYS_setpriority, PRIO_PROCESS, 0, wanted);
  if (rc < 0) return fail(rc);
  // KERNEL: the raw call answers 20 - nice, so that an answer is never negative.
  rc = raw(SYS_getpriority, PRIO_PROCESS, 0);
  return rc == 20 - wanted ? ok() : fail(EINVAL, Substep::kVerify);
}

Outcome scheduler() {
  const int priority = 0;
  int64_t rc = raw(SYS_sched_setscheduler, 0, 0 /* SCHED_OTHER */, &priority);
  if (rc < 0) return fail(rc);
  return check(raw(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 0));
}

namespace {
// Decimal text of a small number; returns its length.
size_t decimal(int value, char* out) {
  char digits[12];
  size_t n = 0;
  unsigned left = value < 0 ? 0u - static_cast<unsigned>(value) : static_cast<unsigned>(value);
  do {
    digits[n++] = static_cast<char>('0' + left % 10);
    left /= 10;
  } while (left != 0);
  size_t at = 0;
  if (value < 0) out[at++] = '-';
  while (n > 0) out[at++] = digits[--n];
  return at;
}
}  // namespace

Outcome oom_score_adj(const Op& op) {
  // KERNEL: the host's /proc, still in sight, shows this process under its number there.
  RawFd fd(raw(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));
  if (!fd.ok()) return fail(fd.error(), Substep::kTarget);
  struct statfs fs;
  if (raw(SYS_fstatfs, fd.get(), &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC) {
    return fail(EXDEV, Substep::kTarget);
  }
  char wanted[16];
  const size_t bytes = decimal(static_cast<int>(op.a), wanted);
  char now[16];
  int64_t n = raw(SYS_pread64, fd.get(), now, sizeof now, 0);
  auto reads_back = [&] {
    bool equal = n == static_cast<int64_t>(bytes) + 1;
    for (size_t i = 0; equal && i < bytes; ++i) equal = now[i] == wanted[i];
    return equal;
  };
  if (reads_back()) return ok();
  int64_t rc = raw(SYS_write, fd.get(), wanted, bytes);
  if (rc < 0) return fail(rc);
  n = raw(SYS_pread64, fd.get(), now, sizeof now, 0);
  return reads_back() ? ok() : fail(EINVAL, Substep::kVerify);
}

Outcome personality(const Op& op) {
  int64_t rc = raw(SYS_personality, op.a);
  if (rc < 0) return fail(rc);
  rc = raw(SYS_personality, 0xffffffffu);
  return rc == static_cast<int64_t>(op.a) ? ok() : fail(EINVAL, Substep::kVerify);
}

namespace {
Outcome set_limit(uint64_t resource, uint64_t soft, uint64_t hard) {
  struct {
    uint64_t soft, hard;
  } limit = {soft, hard}, now = {0, 0};
  int64_t rc = raw(SYS_prlimit64, 0, resource, &limit, nullptr);
  if (rc < 0) return fail(rc);
  rc = raw(SYS_prlimit64, 0, resource, nullptr, &now);
  return rc == 0 && now.soft == soft && now.hard == hard ? ok() : fail(EINVAL, Substep::kVerify);
}
}  // namespace

Outcome rlimit(State& s, const Op& op) {
  if (op.a != RLIMIT_NOFILE) return set_limit(op.a, op.b, op.c);
  // The ops that follow need descriptors themselves. A raise of the hard limit needs the privileges
  // of now; the rest, which is a lowering or the soft limit, waits.
  if (op.b > op.c) return fail(EINVAL);
  struct {
    uint64_t soft, hard;
  } now = {0, 0};
  int64_t rc = raw(SYS_prlimit64, 0, op.a, nullptr, &now);
  if (rc < 0) return fail(rc);
  s.file_limit = &op;
  return op.c > now.hard ? set_limit(op.a, op.c, op.c) : ok();
}

Outcome close_all(State& s) {
  if (s.is_closed) return ok();
  s.is_closed = true;
  // SAFETY: truly closed, not only marked: the path of the command is looked up while they are
  // open, and /proc/self/fd/N/… would lead through a directory of the host's (CVE-2024-21626).
  int64_t rc = 0;
  if (s.report_fd > 3) rc = raw(SYS_close_range, 3, s.report_fd - 1, 0);
  if (rc >= 0 && !s.has_helper_fds) rc = raw(SYS_close_range, s.report_fd + 1, ~0u, 0);
  if (rc >= 0 && s.has_helper_fds) {
    rc = raw(SYS_close_range, s.report_fd + 1, kFirstInheritedFd - 1, 0);
    if (rc >= 0) rc = raw(SYS_close_range, kFirstInheritedFd + kMaxInheritedFds, ~0u, 0);
  }
  if (rc < 0) return fail(rc, Substep::kAttribute);
  s.root = s.parent_fd = s.empty_tree = s.null_device = s.null_spare = s.private_proc = -1;
  const Op* limit = s.file_limit;
  return limit == nullptr ? ok() : set_limit(limit->a, limit->b, limit->c);
}

namespace {
const char* search_path(const PlanView& plan) {
  static constexpr char kName[] = "PATH=";
  for (const uint64_t* entry = plan.envp; *entry != 0; ++entry) {
    const char* text = reinterpret_cast<const char*>(*entry);
    size_t i = 0;
    while (kName[i] != '\0' && text[i] == kName[i]) ++i;
    if (kName[i] == '\0') return text + i;
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}
}  // namespace

Outcome exec(State& s, const Op& op) {
  Outcome closed = close_all(s);
  if (closed.error != 0) return closed;
  if (s.cwd_moved) raw(SYS_chdir, "/");
  const char* name = s.plan.text(op.s1);
  bool has_slash = false;
  for (const char* c = name; *c != '\0'; ++c) has_slash |= *c == '/';
  if (has_slash || *name == '\0') {
    return fail(raw(SYS_execve, name, s.plan.argv, s.plan.envp));
  }
  // As execvp: the first that can be executed; a refusal is remembered, what is not there is not.
  char candidate[PATH_MAX];
  int64_t answer = -ENOENT;
  const size_t name_bytes = length(name) + 1;
  for (const char* at = search_path(s.plan);; ++at) {
    size_t n = 0;
    while (at[n] != '\0' && at[n] != ':') ++n;
    if (n + 1 + name_bytes <= sizeof candidate) {
      for (size_t i = 0; i < n; ++i) candidate[i] = at[i];
      size_t used = n;
      if (n > 0) candidate[used++] = '/';  // an empty entry is the working directory
      for (size_t i = 0; i < name_bytes; ++i) candidate[used + i] = name[i];
      int64_t rc = raw(SYS_execve, candidate, s.plan.argv, s.plan.envp);
      if (rc != -ENOENT && rc != -ENOTDIR && rc != -EACCES) return fail(rc);
      if (rc == -EACCES) answer = rc;
    }
    at += n;
    if (*at == '\0') return fail(answer);
  }
}
}  // namespace gantry::child
