#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>

#include "fetcher/worker/confine.h"

namespace gantry::worker {
namespace {
// What the C and C++ libraries need to run at all, and work on files by descriptor.
constexpr const char* kFiles[] = {
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "lseek",
    "close",
    "faccessat",
    "faccessat2",
    "fstat",
    "newfstatat",
    "statx",
    "openat",
    "openat2",
    "fcntl",
    "dup",
    "mkdirat",
    "mknodat",
    "unlinkat",
    "linkat",
    "symlinkat",
    "renameat",
    "renameat2",
    "readlinkat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "utimensat",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "fsetxattr",
    "fgetxattr",
    "flistxattr",
    "fremovexattr",
    "getdents64",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
    "fstatfs",
    "copy_file_range",
    "sendfile",
    "splice",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "futex",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "getpid",
    "gettid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "nanosleep",
    "clock_nanosleep",
    "poll",
    "ppoll",
    "getrandom",
    "exit",
    "exit_group",
    "restart_syscall",
    "uname",
    "sched_yield",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "rseq",
    "prlimit64",
    "getrlimit",
    "sysinfo",
    "tgkill",
    "umask",
    "getcwd",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
};
// Sockets, and the thread in which curl resolves names.
constexpr const char* kNetwork[] = {
    "socketpair",      "connect",    "bind",       "getsockname",
    "getpeername",     "getsockopt", "setsockopt", "sendmmsg",
    "recvmmsg",        "shutdown",   "select",     "pselect6",
    "epoll_create1",   "epoll_ctl",  "epoll_wait", "epoll_pwait",
    "pipe2",           "pipe",       "eventfd2",   "clone",
    "clone3",          "access",     "open",       "stat",
    "lstat",           "readlink",   "arch_prctl", "prctl",
    "get_robust_list", "membarrier", "time",
};

Result<void> allow(scmp_filter_ctx filter, const char* name) {
  int number = ::seccomp_syscall_resolve_name(name);
  if (number == __NR_SCMP_ERROR) return {};  // unknown to this libseccomp: not allowed
  int error = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
  if (error != 0) return Error::from_errno(-error, cat("allow the system call ", name));
  return {};
}

Result<void> fill(scmp_filter_ctx filter, SystemCalls allowed) {
  for (const char* name : kFiles) GANTRY_TRY(allow(filter, name));
  // Reflinks, and nothing else that ioctl can do. Libraries ask whether a stream is a terminal: no.
  int error = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                 scmp_arg_cmp{1, SCMP_CMP_EQ, FICLONE, 0});
  if (error != 0) return Error::from_errno(-error, "allow FICLONE");
  error = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
                             scmp_arg_cmp{1, SCMP_CMP_NE, FICLONE, 0});
  if (error != 0) return Error::from_errno(-error, "forbid ioctl");
  if (allowed != SystemCalls::network) return {};
  for (const char* name : kNetwork) GANTRY_TRY(allow(filter, name));
  for (unsigned family : {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK}) {
    error = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                               scmp_arg_cmp{0, SCMP_CMP_EQ, family, 0});
    if (error != 0) return Error::from_errno(-error, "allow sockets");
  }
  return {};
}
}  // namespace

Result<void> restrict_system_calls(SystemCalls allowed) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  (void)allowed;
  (void)&fill;  // the sanitizers' run time makes calls of its own
  return {};
#else
  scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_KILL_PROCESS);
  if (filter == nullptr) return Error(Errc::unsupported, "libseccomp cannot make a filter");
  auto done = [&]() -> Result<void> {
    GANTRY_TRY(fill(filter, allowed));
    if (int error = ::seccomp_load(filter); error != 0) {
      return Error::from_errno(-error, "load the seccomp filter");
    }
    return {};
  }();
  ::seccomp_release(filter);
  return done;
#endif
}
}  // namespace gantry::worker
