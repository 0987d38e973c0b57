// What a worker gives up before it reads a byte that somebody else wrote. Every step fails loudly:
// a worker that cannot be confined does not work.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace gantry::worker {
// Ends with the executor (PDEATHSIG, rechecked), not dumpable, no_new_privs, umask 0, no core, and
// no descriptor above last_fd.
Result<void> harden(pid_t parent, int last_fd);

struct Limits {
  uint64_t address_space = 1ull << 30;
  uint64_t file_size = 1ull << 40;
  uint64_t open_files = 1024;
};
Result<void> limit(const Limits& limits);

// A mount namespace of its own whose root is the directory behind `fd`, nosuid, nodev, noexec; no
// name of the host is reachable any more. With `keep_mounts` the mounts below come along (so that a
// walk meets them as mounts), else only the directory's own file system is seen.
enum class Below { own_file_system, keep_mounts };
Result<void> enter_root(int fd, Below below);
// A copy of another process' mount namespace whose root is the directory behind `root`, which is
// one of that namespace: what is mounted there later changes nothing any more.
Result<void> enter_namespace(int mount_namespace, int root);
// The view of an overlay as the root, as enter_root() of a mount of it. `layers`: O_PATH, top
// first; `upper` and `work`: -1 for a view that nobody writes to.
Result<void> enter_overlay(const std::vector<int>& layers, int upper, int work);
// The same directory as a detached read-only mount: `..` ends at it. Before enter_root().
Result<int> detach_read_only(int fd);
// No network but an unconfigured loopback; no System V IPC of the host.
Result<void> leave_network();

// Keeps exactly these capabilities (bits), clears the bounding set and the rest.
inline constexpr uint64_t cap_bit(int capability) { return 1ull << capability; }
Result<void> keep_capabilities(uint64_t mask);
// Becomes the user for good, without any capability or supplementary group.
Result<void> become(uid_t uid, gid_t gid);

// Landlock, where the kernel has it: reads only these paths (missing ones are skipped), writes only
// below the directory `writable` (-1: nowhere).
Result<void> restrict_files(const std::vector<std::string>& readable, int writable);

// seccomp allow-list; anything else kills the process.
enum class SystemCalls {
  files,    // reading and writing below directories we hold
  network,  // files, and TCP/UDP sockets and threads (curl's resolver)
};
Result<void> restrict_system_calls(SystemCalls allowed);
}  // namespace gantry::worker
