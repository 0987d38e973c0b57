#include "executor/cli/on_demand.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/sys.h"
#include "executor/version.h"

namespace gantry::cli {
namespace {
// An executor that adopts many containers first takes a while; nobody waits longer than this.
constexpr int64_t kStartDeadlineNs = 20'000'000'000;
constexpr int64_t kEndingNs = 2'000'000'000;

bool nobody_listens(const Error& error) {
  return error.is_errno(ENOENT) || error.is_errno(ECONNREFUSED);
}

std::string read_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<size_t>(n));
}

// KERNEL: namespaces made at boot have the smallest numbers: fixed ones from 0xEFFFFFF8 on, or the
// first dynamic ones after 0xF0000000; those made later come after all of /proc's own.
bool is_made_at_boot(std::string_view link) {
  const size_t bracket = link.find('[');
  uint64_t number = 0;
  return bracket != link.npos && link.ends_with(']') &&
         parse_number(link.substr(bracket + 1, link.size() - bracket - 2), number) &&
         number < 0xF0000000 + 160;
}

// Containers made from within somebody's namespaces would end up in them. Refused unless asked for.
Result<void> check_namespaces() {
  static constexpr std::array<std::string_view, 3> kNames = {"mnt", "pid", "net"};
  for (const std::string_view name : kNames) {
    const std::string own = read_link(cat("/proc/self/ns/", name));
    const std::string first = read_link(cat("/proc/1/ns/", name));
    // Reading pid 1's needs all of its capabilities (ptrace(2)); where we lack one, our own tells.
    if (own.empty() || (first.empty() ? is_made_at_boot(own) : own == first)) continue;
    return Error(Errc::refused,
                 cat("no executor listens, and this shell is not in pid 1's ", name,
                     " namespace: containers of an executor started here would live inside it.\n"
                     "  Start one on the host (gantry executor), or give --here to start it here"));
  }
  return {};
}

// Who starts an executor holds this. The file is beside the runtime directory, not in it: an
// executor may mount a tmpfs there, and a file of the same name in it would be another lock.
// Whoever is done removes it, so nothing is left behind.
class StartLock {
 public:
  static Result<StartLock> take(const Location& location) {
    const std::string path = cat(location.runtime_dir, ".lock");
    const std::string parent = path.substr(0, path.rfind('/'));
    if (!parent.empty()) {
      GANTRY_TRY(sys::ensure_directories(parent, 0755)
                     .context("no executor listens on ", location.socket));
    }
    for (;;) {
      UniqueFd fd = GANTRY_TRY(sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
      while (::flock(fd.get(), LOCK_EX) != 0) {
        if (errno != EINTR) return Error::from_errno(errno, cat("lock ", path));
      }
      // The one before us may have removed the file while we waited for its lock.
      const Result<struct ::stat> named = sys::stat_at(AT_FDCWD, path.c_str());
      struct ::stat held = {};
      if (::fstat(fd.get(), &held) == 0 && named && named->st_ino == held.st_ino) {
        return StartLock(path, std::move(fd));
      }
    }
  }
  StartLock(StartLock&&) = default;
  StartLock& operator=(StartLock&&) = delete;
  ~StartLock() {
    if (fd_) ::unlink(path_.c_str());
  }

 private:
  StartLock(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

// What the executor of a runtime directory wrote into its lock file.
struct Holder {
  std::string pid;
  std::string socket;  // empty: it does not listen yet
};
Holder read_holder(const Location& location) {
  const std::string text =
      sys::read_file(cat(location.runtime_dir, "/lock")).value_or(std::string());
  const size_t line = text.find('\n');
  if (line == text.npos) return {};
  return {text.substr(0, line), text.substr(line + 1, text.find('\n', line + 1) - line - 1)};
}

// The runtime directory is another executor's. One that listens somewhere else, or whose socket
// file is gone, will never be found at ours, however long we wait.
Result<void> check_holder(const Location& location, int64_t since) {
  const Holder holder = read_holder(location);
  if (holder.socket.empty()) return {};
  const std::string who = cat("the executor of ", location.runtime_dir, " (pid ", holder.pid, ")");
  if (holder.socket != location.socket) {
    return Error(Errc::refused,
                 cat("no executor listens on ", location.socket, ": ", who, " listens on ",
                     holder.socket, ".\n  Use that one (--socket ", holder.socket,
                     ", or unset GANTRY_SOCKET), or give a second executor a --runtime-dir of its "
                     "own"));
  }
  // One that was just killed may hold its lock a little longer than its socket.
  if (sys::monotonic_ns() < since + kEndingNs) return {};
  return Error(Errc::refused,
               cat(who, " runs, but its socket ", location.socket, " is gone.\n  kill ", holder.pid,
                   " ends it, containers go on, and the next command starts another"));
}

// `words`: a memfd that was the executor's stderr.
Error start_error(int words_fd, std::string what) {
  ::lseek(words_fd, 0, SEEK_SET);
  const std::string words = sys::read_all(words_fd).value_or(std::string());
  // The end of the log is where it says why.
  const size_t from = words.size() > 2000 ? words.find('\n', words.size() - 2000) + 1 : 0;
  std::string text = cat("the executor did not start: ", what);
  if (!words.empty()) text += cat("\n", words.substr(from));
  while (text.ends_with('\n')) text.pop_back();
  return {Errc::refused, text};
}

// Detached: a session of its own, no terminal, its words in a file. Returns the child's pid.
Result<pid_t> start(const Location& location, int words_fd) {
  const std::string program = sibling_program("gantry-executor");
  std::vector<std::string> words = {
      program, "--on-demand", "--runtime-dir", location.runtime_dir, "--socket", location.socket};
  if (location.here) words.emplace_back("--here");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const UniqueFd null = GANTRY_TRY(sys::open("/dev/null", O_RDWR));
  // An earlier one of ours may have been left to the kernel (wait_for_socket).
  ::signal(SIGCHLD, SIG_DFL);
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) {
    ::setsid();
    ::dup2(null.get(), 0);
    ::dup2(null.get(), 1);
    ::dup2(words_fd, 2);
    // What this shell opened is not the daemon's (a pipe it would hold open for ever).
    ::close_range(3, ~0u, 0);
    if (::chdir("/") != 0) ::_exit(127);
    ::execvp(argv[0], argv.data());
    const int reason = errno;
    ::dprintf(2, "gantry: exec %s: %s. Reinstall Gantry, or start gantry-executor yourself\n",
              argv[0], ::strerror(reason));
    ::_exit(127);
  }
  return pid;
}

// Errc::conflict: try again. Another executor has the runtime directory and does not listen yet, or
// somebody has killed ours.
Result<Connection> wait_for_socket(const Location& location, pid_t pid, int words_fd,
                                   int64_t deadline) {
  for (int wait_ms = 1;;) {
    Result<Connection> connection = Connection::connect(location.socket);
    if (connection || !nobody_listens(connection.error())) {
      // It outlives us or not: nobody waits for it, so the kernel shall reap it.
      ::signal(SIGCHLD, SIG_IGN);
      return connection;
    }
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) {
      if (WIFEXITED(status) && WEXITSTATUS(status) == kAnotherServes) {
        return Error(Errc::conflict, start_error(words_fd, "another one serves").to_string());
      }
      if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        return Error(Errc::conflict, start_error(words_fd, "it was killed").to_string());
      }
      return start_error(words_fd, WIFSIGNALED(status)
                                       ? cat("it was ended by signal ", WTERMSIG(status))
                                       : cat("it ended with status ", WEXITSTATUS(status)));
    }
    if (sys::monotonic_ns() > deadline) {
      ::kill(pid, SIGTERM);
      return start_error(words_fd, "its socket did not open within 20 seconds");
    }
    ::poll(nullptr, 0, wait_ms);
    wait_ms = std::min(wait_ms * 2, 20);
  }
}
}  // namespace

std::string sibling_program(std::string_view name) {
  const std::string self = read_link("/proc/self/exe");
  const size_t slash = self.rfind('/');
  if (slash != self.npos) {
    const std::string beside = cat(self.substr(0, slash + 1), name);
    if (::access(beside.c_str(), X_OK) == 0) return beside;
  }
  return std::string(name);
}

Result<Connection> connect_as_permitted(const Location& location) {
  if (location.remote) return connect_remote(*location.remote);
  Result<Connection> connection = Connection::connect(location.socket);
  if (connection || !connection.error().is_errno(EACCES)) return connection;
  return Error(Errc::refused,
               cat("no permission to use ", location.socket,
                   ": it is root's, and the group gantry's where there is one.\n  Run it as root "
                   "(sudo gantry …), or join the group (sudo usermod -aG gantry NAME) and log in "
                   "again"));
}

Result<Connection> connect_or_start(const Location& location) {
  Result<Connection> first = connect_as_permitted(location);
  if (first || location.remote || !nobody_listens(first.error())) return first;
  if (::geteuid() != 0) {
    return Error(
        Errc::refused,
        cat("no executor listens on ", location.socket,
            ", and only root can start one: sudo gantry …, or sudo gantry executor first"));
  }
  if (!location.here) GANTRY_TRY(check_namespaces());
  // ORDER: whoever has the lock looks again first; another one may have started it meanwhile.
  const StartLock lock = GANTRY_TRY(StartLock::take(location));
  const UniqueFd words(::memfd_create("gantry-executor's stderr", MFD_CLOEXEC));
  if (!words) return Error::from_errno(errno, "memfd_create");
  const int64_t since = sys::monotonic_ns();
  const int64_t deadline = since + kStartDeadlineNs;
  for (;;) {
    Result<Connection> theirs = Connection::connect(location.socket);
    if (theirs || !nobody_listens(theirs.error())) return theirs;
    // The last one's words are the error.
    if (::ftruncate(words.get(), 0) != 0 || ::lseek(words.get(), 0, SEEK_SET) != 0) {
      return Error::from_errno(errno, "empty a memfd");
    }
    const pid_t pid = GANTRY_TRY(start(location, words.get()));
    Result<Connection> connection = wait_for_socket(location, pid, words.get(), deadline);
    if (connection || !connection.error().is(Errc::conflict)) return connection;
    GANTRY_TRY(check_holder(location, since));
    if (sys::monotonic_ns() > deadline) return connection;
    ::poll(nullptr, 0, 20);
  }
}
}  // namespace gantry::cli
