#include "executor/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <thread>

#include "base/path_at.h"
#include "base/process_stat.h"
#include "base/sys.h"

namespace gantry {
namespace {
Result<void> raise_files() {
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return {};
  if (files.rlim_max < kLeastFiles) {
    return Error(Errc::unsupported,
                 cat("the hard limit of open files is ", files.rlim_max, "; at least ", kLeastFiles,
                     " are needed, and 8 for each running container: raise it (`ulimit -n`, or "
                     "LimitNOFILE= of a systemd unit)"));
  }
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  return {};
}

// Less than the second after which Asio looks by itself whether there is something to do.
constexpr std::chrono::milliseconds kDeafAfter(900);

// Whether one handler, which is on its way, wakes the loop.
bool is_woken(asio::io_context& loop) {
  const auto deadline = std::chrono::steady_clock::now() + kDeafAfter;
  loop.restart();
  return loop.run_one_until(deadline) == 1 && std::chrono::steady_clock::now() < deadline;
}

bool hears_timers_and_threads(asio::io_context& loop) {
  loop.restart();
  loop.poll();  // what an attempt before this left
  asio::steady_timer timer(loop, std::chrono::milliseconds(1));
  timer.async_wait([](const boost::system::error_code&) {});
  if (!is_woken(loop)) return false;
  const auto work = asio::make_work_guard(loop);
  std::thread other([&] {
    // Once the loop sleeps, it takes more than a handler in its queue to wake it.
    // lint: allow sleep, because nobody says when the loop sleeps
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    asio::post(loop, [] {});
  });
  const bool hears = is_woken(loop);
  other.join();
  return hears;
}
}  // namespace

Result<void> check_loop(asio::io_context& loop) {
  // More than once: a host may be so busy that the other thread comes late.
  bool hears = false;
  for (int attempt = 0; attempt < 5 && !hears; ++attempt) hears = hears_timers_and_threads(loop);
  loop.restart();
  if (hears) return {};
  return Error(Errc::exhausted,
               "the event loop does not wake: the kernel has no memory, or no watches of epoll "
               "(fs.epoll.max_user_watches) left for it");
}

Result<void> normalise_process() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    if (::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd) {
      return Error::from_errno(errno, "open /dev/null");
    }
  }
  ::setsid();  // fails only for a group leader, which a fresh session already is
  if (::chdir("/") != 0) return Error::from_errno(errno, "go to /");
  ::umask(0077);
  ::clearenv();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Without a name: a new one always (a name would join an existing keyring of that name).
  ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  return raise_files();
}

namespace {
constexpr int kLockNumber = 20;  // or above
// Looks, of 50 ms each, until a dead executor's lock is nobody's.
constexpr int kDeadsPatience = 20;

enum class Same { yes, no, unknown };

Same same_namespace(const char* name) {
  struct ::stat ours, first;
  std::string mine = cat("/proc/self/ns/", name), theirs = cat("/proc/1/ns/", name);
  if (::stat(mine.c_str(), &ours) != 0) return Same::unknown;
  if (::stat(theirs.c_str(), &first) == 0) {
    return ours.st_ino == first.st_ino ? Same::yes : Same::no;
  }
  // KERNEL: the look needs every capability pid 1 has (ptrace_may_access), which root may lack.
  // The pid namespace of the host has a fixed inode (PROC_PID_INIT_INO); mounts have ids that no
  // two namespaces share; for the network there is no second way.
  if (std::string_view(name) == "pid") {
    return ours.st_ino == 0xEFFFFFFC ? Same::yes : Same::no;
  }
  if (std::string_view(name) == "mnt") {
    auto here = sys::read_file("/proc/self/mountinfo"), there = sys::read_file("/proc/1/mountinfo");
    if (here && there) return *here == *there ? Same::yes : Same::no;
  }
  return Same::unknown;
}
}  // namespace

Result<void> require_host_namespaces() {
  for (const char* name : {"mnt", "pid", "net"}) {
    if (same_namespace(name) != Same::no) continue;
    return Error(Errc::unsupported, cat("this is not pid 1's ", name,
                                        " namespace: containers would not be the host's; use "
                                        "--here if that is wanted"));
  }
  return {};
}

namespace {
Result<bool> is_empty(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  if (!dir) return Error::from_errno(errno, cat("look into ", path));
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return false;
  }
  return true;
}
}  // namespace

Result<void> make_runtime_dir(const std::string& path) {
  GANTRY_TRY(sys::ensure_directories(path, 0750));
  std::optional<gid_t> group = gantry_group();
  struct ::statfs fs;
  if (::statfs(path.c_str(), &fs) != 0) return Error::from_errno(errno, cat("look at ", path));
  if (fs.f_type == TMPFS_MAGIC) return {};
  if (!GANTRY_TRY(is_empty(path))) {
    return Error(Errc::invalid,
                 cat("runtime directory ", path,
                     " is on disk and has files, which the tmpfs that is mounted there would hide: "
                     "give --runtime-dir a directory of its own. With --socket alone it is the "
                     "socket's directory"));
  }
  std::string options = cat("size=256m,mode=0750,gid=", group.value_or(0));
  // Records die with the kernel; on a disk they would not, and would cost its latency.
  if (::mount("gantry", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) !=
      0) {
    return Error::from_errno(errno, cat("mount a tmpfs on ", path));
  }
  return {};
}

Result<void> make_data_dir(const std::string& path) { return sys::ensure_directories(path, 0700); }

std::optional<gid_t> gantry_group() {
  // Read here: getgrnam would load whatever nsswitch.conf names into the daemon.
  auto text = sys::read_file("/etc/group", 4u << 20);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (!line.starts_with("gantry:")) continue;
    line.remove_prefix(std::min(line.size(), line.find(':', 7) + 1));
    gid_t gid = 0;
    if (parse_number(line.substr(0, line.find(':')), gid)) return gid;
  }
  return std::nullopt;
}

namespace {
// One for each build that was mounted (containerizer/init_program.h).
void remove_init_mounts(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  if (!dir) return;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    const std::string mount = cat(path, "/", entry->d_name);
    ::umount2(mount.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(mount.c_str());
  }
  ::rmdir(path.c_str());
}
}  // namespace

void remove_runtime_dir(const std::string& path) {
  auto dir = DirFd::open(path);
  if (!dir) return;
  if (::unlinkat(dir->get(), "containers", AT_REMOVEDIR) != 0 && errno != ENOENT) return;
  ::unlinkat(dir->get(), "staging", AT_REMOVEDIR);
  remove_init_mounts(path + "/init");
  for (const char* file : {"gantry.sock", "launcher.sock", "logger.sock", "launcher.table", "lock",
                           "start.lock", "data"}) {
    ::unlinkat(dir->get(), file, 0);
  }
  struct ::stat inside, parent;
  std::string above = path + "/..";
  remove_tree_at(dir->get(), "criu").ignore("a cache");
  bool is_mount = ::stat(path.c_str(), &inside) == 0 && ::stat(above.c_str(), &parent) == 0 &&
                  inside.st_dev != parent.st_dev;
  dir = Error(Errc::cancelled, "closed before the unmount");
  // Detached: our own lock file is still open in it.
  if (is_mount) ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  ::rmdir(path.c_str());
}

pid_t lock_holder(int fd) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}

bool is_dead(pid_t pid) {
  const Result<ProcessStat> stat = process_stat(pid);
  return !stat || stat->state == 'Z' || stat->state == 'X';
}

// KERNEL: a killed process whose last thread hangs in the kernel keeps its files open, and locked.
void discard_lock(int fd, const std::string& path) {
  auto turn = sys::open(path + ".discard", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  // ORDER: one at a time, and only what is still there: another one may have locked its successor.
  if (!turn || ::fcntl(turn->get(), F_SETLK, &lock) != 0) return;
  struct ::stat held, named;
  if (::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
      held.st_dev == named.st_dev) {
    ::unlink(path.c_str());
  }
  ::unlink((path + ".discard").c_str());
}

Result<UniqueFd> lock_runtime_dir(const std::string& path, int patience) {
  UniqueFd fd = GANTRY_TRY(sys::open(path + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  // ORDER: to its final number before it is locked: closing any descriptor of the file unlocks it,
  // and a successor in place needs the low numbers (successor.cc).
  fd.reset(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kLockNumber));
  if (!fd) return Error::from_errno(errno, "keep the lock file open");
  for (int attempt = 0;; ++attempt) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(fd.get(), F_SETLK, &lock) == 0) {
      // An executor that left has taken its directory with it: then this is nobody's lock.
      struct ::stat held, named;
      if (::fstat(fd.get(), &held) != 0 || ::stat((path + "/lock").c_str(), &named) != 0 ||
          held.st_ino != named.st_ino || held.st_dev != named.st_dev) {
        return Error(Errc::not_found, cat(path, " was removed by an executor that ended"));
      }
      // ORDER: cut off afterwards: the block that it has stays its own, however full the disk is.
      const std::string pid = cat(::getpid(), "\n");
      GANTRY_TRY(sys::write_all(fd.get(), pid));
      if (::ftruncate(fd.get(), static_cast<off_t>(pid.size())) != 0) {
        return Error::from_errno(errno, "write the lock file");
      }
      return fd;
    }
    if (errno != EAGAIN && errno != EACCES) return Error::from_errno(errno, cat("lock ", path));
    // KERNEL: the lock goes when the holder's files are closed, which a killed process with much
    // to tear down does a little after it stopped answering.
    const pid_t holder = lock_holder(fd.get());
    if (holder != 0 && !is_dead(holder) && attempt >= patience) {
      return Error(Errc::conflict, cat("an executor with pid ", holder, " already serves ", path,
                                       "; stop it with `gantry executor stop`"));
    }
    if (attempt >= kDeadsPatience && holder != 0 && is_dead(holder)) {
      discard_lock(fd.get(), path + "/lock");
      return Error(Errc::not_found, cat("the lock of ", path, " was a dead executor's"));
    }
    if (attempt >= 100) return Error(Errc::conflict, cat("the lock of ", path, " stays held"));
    // lint: allow sleep, because there is no loop yet
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Announcement::Announcement(int lock_fd, const std::string& socket) : lock_fd_(lock_fd) {
  sys::write_all(lock_fd_, cat(socket, "\n")).ignore("clients then wait for the socket");
}
Announcement::~Announcement() {
  const std::string pid = cat(::getpid(), "\n");
  if (::ftruncate(lock_fd_, static_cast<off_t>(pid.size())) == 0) ::lseek(lock_fd_, 0, SEEK_END);
}
}  // namespace gantry
