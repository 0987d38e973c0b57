// What the executor makes of itself before it serves: nothing may leak in from whoever started it
// (architecture §4), and it must be where it can work.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "executor/config.h"

namespace gantry {
// setsid, cwd /, umask 0077, environment emptied, default signals (SIGPIPE ignored), a session
// keyring of its own, RLIMIT_NOFILE's soft limit raised to the hard one, fds 0-2 open.
// Errc::unsupported where that is less than kLeastFiles.
Result<void> normalise_process();

// The launcher keeps its descriptors from 256 on (launcher/process); the executor has some forty of
// its own and some twenty for each launch.
inline constexpr uint64_t kLeastFiles = 512;

// Whether a new event loop hears its own timers and other threads: Asio takes no notice when the
// kernel has no memory for watching its two descriptors (epoll_ctl(2): ENOMEM, ENOSPC), and such a
// loop waits for ever. Blocks for 2 ms; for 5 s where it fails.
Result<void> check_loop(asio::io_context& loop);

// Errc::unsupported naming the namespace when the process is not in pid 1's mount, pid and network
// namespaces.
Result<void> require_host_namespaces();

// The runtime directory: made 0750, and a tmpfs of ours (256 MiB) mounted on it when it is on disk.
Result<void> make_runtime_dir(const std::string& path);
Result<void> make_data_dir(const std::string& path);
// Unmounts and removes the runtime directory when nothing in it matters any more.
void remove_runtime_dir(const std::string& path);

// The group whose members may use the socket, root-equivalent: `gantry` of /etc/group, if it
// exists.
std::optional<gid_t> gantry_group();

// The one-executor lock: an fcntl record on RUNTIME/lock, gone with the process that holds it, dead
// or killed. A holder that is ending is waited for, 1 s at most; Errc::conflict names a live one
// that is still there after `patience` looks, 50 ms apart; Errc::not_found: directory or lock went
// while we waited, make it again.
Result<UniqueFd> lock_runtime_dir(const std::string& path, int patience);

// Of a record lock that another process holds on `fd`: whose it is (0: nobody's).
pid_t lock_holder(int fd);
// A zombie counts.
bool is_dead(pid_t pid);
// Takes the file away from a dead process that cannot let go of it; the next lock is another one's.
void discard_lock(int fd, const std::string& path);

// While it lives, the lock file names the socket after our pid: a client that finds the runtime
// directory taken learns where the executor listens.
class Announcement {
 public:
  Announcement(int lock_fd, const std::string& socket);
  ~Announcement();
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;

 private:
  int lock_fd_;
};

}  // namespace gantry
