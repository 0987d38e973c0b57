// What can plausibly go wrong with a system call: the errors that sweep_tracer lets one have.
#pragma once

#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <fcntl.h>

namespace gantry::sweep {
// Which argument says what the call is about.
enum class Subject { none, fd, path, path_at };

struct Fault {
  long number;
  const char* name;
  Subject subject;
  int errnos[3];  // 0: no more
};

// Calls that cannot fail, or whose failure the kernel promises something about (EAGAIN: an event
// will follow), are not here.
inline constexpr Fault kFaults[] = {
    {SYS_openat, "openat", Subject::path_at, {EMFILE, EIO, ENOENT}},
    {SYS_openat2, "openat2", Subject::path_at, {EMFILE, EIO, ENOENT}},
    {SYS_mkdir, "mkdir", Subject::path, {ENOSPC, EIO}},
    {SYS_mkdirat, "mkdirat", Subject::path_at, {ENOSPC, EIO}},
    {SYS_unlink, "unlink", Subject::path, {EIO, EBUSY}},
    {SYS_unlinkat, "unlinkat", Subject::path_at, {EIO, EBUSY}},
    {SYS_rmdir, "rmdir", Subject::path, {EBUSY, EIO}},
    {SYS_rename, "rename", Subject::path, {ENOSPC, EIO}},
    {SYS_renameat, "renameat", Subject::path_at, {ENOSPC, EIO}},
    {SYS_renameat2, "renameat2", Subject::path_at, {ENOSPC, EIO}},
    {SYS_linkat, "linkat", Subject::path_at, {ENOSPC, EIO}},
    {SYS_symlinkat, "symlinkat", Subject::path, {ENOSPC, EIO}},
    {SYS_chmod, "chmod", Subject::path, {EIO, EPERM}},
    {SYS_fchmod, "fchmod", Subject::fd, {EIO, EPERM}},
    {SYS_fchmodat, "fchmodat", Subject::path_at, {EIO, EPERM}},
    {SYS_chown, "chown", Subject::path, {EIO, EPERM}},
    {SYS_fchown, "fchown", Subject::fd, {EIO, EPERM}},
    {SYS_fchownat, "fchownat", Subject::path_at, {EIO, EPERM}},
    {SYS_utimensat, "utimensat", Subject::path_at, {EIO}},
    {SYS_read, "read", Subject::fd, {EIO}},
    {SYS_pread64, "pread64", Subject::fd, {EIO}},
    {SYS_readv, "readv", Subject::fd, {EIO}},
    {SYS_write, "write", Subject::fd, {ENOSPC, EIO}},
    {SYS_pwrite64, "pwrite64", Subject::fd, {ENOSPC, EIO}},
    {SYS_writev, "writev", Subject::fd, {ENOSPC, EIO}},
    {SYS_fsync, "fsync", Subject::fd, {EIO, ENOSPC}},
    {SYS_fdatasync, "fdatasync", Subject::fd, {EIO, ENOSPC}},
    {SYS_ftruncate, "ftruncate", Subject::fd, {EIO, ENOSPC}},
    {SYS_getdents64, "getdents64", Subject::fd, {EIO}},
    {SYS_stat, "stat", Subject::path, {EIO, ENOMEM}},
    {SYS_lstat, "lstat", Subject::path, {EIO, ENOMEM}},
    {SYS_fstat, "fstat", Subject::fd, {EIO}},
    {SYS_newfstatat, "newfstatat", Subject::path_at, {EIO, ENOMEM}},
    {SYS_statx, "statx", Subject::path_at, {EIO, ENOMEM}},
    {SYS_statfs, "statfs", Subject::path, {EIO}},
    {SYS_fstatfs, "fstatfs", Subject::fd, {EIO}},
    {SYS_readlink, "readlink", Subject::path, {EIO}},
    {SYS_readlinkat, "readlinkat", Subject::path_at, {EIO}},
    {SYS_access, "access", Subject::path, {EIO}},
    {SYS_faccessat, "faccessat", Subject::path_at, {EIO}},
    {SYS_flock, "flock", Subject::fd, {ENOLCK}},
    {SYS_mmap, "mmap", Subject::none, {ENOMEM}},
    {SYS_mprotect, "mprotect", Subject::none, {ENOMEM}},
    {SYS_clone, "clone", Subject::none, {EAGAIN, ENOMEM}},
    {SYS_clone3, "clone3", Subject::none, {EAGAIN, ENOMEM}},
    {SYS_fork, "fork", Subject::none, {EAGAIN, ENOMEM}},
    {SYS_vfork, "vfork", Subject::none, {EAGAIN, ENOMEM}},
    {SYS_socket, "socket", Subject::none, {EMFILE, ENOBUFS}},
    {SYS_socketpair, "socketpair", Subject::none, {EMFILE, ENOBUFS}},
    {SYS_pipe2, "pipe2", Subject::none, {EMFILE, ENFILE}},
    {SYS_eventfd2, "eventfd2", Subject::none, {EMFILE, ENOMEM}},
    {SYS_memfd_create, "memfd_create", Subject::path, {EMFILE, ENOMEM}},
    {SYS_epoll_create1, "epoll_create1", Subject::none, {EMFILE, ENOMEM}},
    {SYS_timerfd_create, "timerfd_create", Subject::none, {EMFILE, ENOMEM}},
    {SYS_inotify_init1, "inotify_init1", Subject::none, {EMFILE, ENOMEM}},
    {SYS_inotify_add_watch, "inotify_add_watch", Subject::path_at, {ENOSPC, ENOMEM}},
    {SYS_pidfd_open, "pidfd_open", Subject::none, {EMFILE, ENOMEM}},
    {SYS_dup, "dup", Subject::fd, {EMFILE}},
    {SYS_dup3, "dup3", Subject::fd, {EMFILE}},
    {SYS_fcntl, "fcntl", Subject::fd, {EMFILE}},
    {SYS_epoll_ctl, "epoll_ctl", Subject::none, {ENOMEM, ENOSPC}},
    {SYS_accept, "accept", Subject::fd, {EMFILE, ECONNABORTED}},
    {SYS_accept4, "accept4", Subject::fd, {EMFILE, ECONNABORTED}},
    {SYS_connect, "connect", Subject::fd, {ECONNREFUSED, ENOMEM}},
    {SYS_bind, "bind", Subject::fd, {EADDRINUSE, ENOMEM}},
    {SYS_listen, "listen", Subject::fd, {EADDRINUSE}},
    {SYS_setsockopt, "setsockopt", Subject::fd, {ENOMEM}},
    {SYS_sendto, "sendto", Subject::fd, {ENOBUFS, ENOMEM}},
    {SYS_sendmsg, "sendmsg", Subject::fd, {EPIPE, ENOBUFS}},
    {SYS_recvfrom, "recvfrom", Subject::fd, {ECONNRESET, ENOMEM}},
    {SYS_recvmsg, "recvmsg", Subject::fd, {ECONNRESET, ENOMEM}},
    {SYS_splice, "splice", Subject::fd, {EIO, ENOMEM}},
    {SYS_sendfile, "sendfile", Subject::fd, {EIO, ENOMEM}},
    {SYS_copy_file_range, "copy_file_range", Subject::fd, {ENOSPC, EIO}},
    {SYS_mount, "mount", Subject::path, {ENOMEM, ENOSPC}},
    {SYS_umount2, "umount2", Subject::path, {EBUSY}},
    {SYS_open_tree, "open_tree", Subject::path_at, {EMFILE, ENOMEM}},
    {SYS_move_mount, "move_mount", Subject::fd, {ENOMEM, ENOSPC}},
    {SYS_fsopen, "fsopen", Subject::path, {EMFILE, ENOMEM}},
    {SYS_fsconfig, "fsconfig", Subject::fd, {ENOMEM, EINVAL}},
    {SYS_fsmount, "fsmount", Subject::fd, {EMFILE, ENOMEM}},
    {SYS_bpf, "bpf", Subject::none, {ENOMEM, EPERM}},
    // What is closed is closed, and the error is news about a file's earlier writes.
    {SYS_close, "close", Subject::fd, {EIO}},
};

inline const Fault* find_fault(long number) {
  for (const Fault& fault : kFaults) {
    if (fault.number == number) return &fault;
  }
  return nullptr;
}
}  // namespace gantry::sweep
