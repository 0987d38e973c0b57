#include "executor/cli/on_demand.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
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

namespace gantry::cli {
namespace {
// An executor that adopts many containers first takes a while; nobody waits longer than this.
constexpr int64_t kStartDeadlineNs = 20'000'000'000;

bool nobody_listens(const Error& error) {
  return error.is_errno(ENOENT) || error.is_errno(ECONNREFUSED);
}

std::string read_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<size_t>(n));
}

// Containers made from within somebody's namespaces would end up in them. Refused unless asked for.
Result<void> check_namespaces() {
  static constexpr std::array<std::string_view, 3> kNames = {"mnt", "pid", "net"};
  for (const std::string_view name : kNames) {
    const std::string own = read_link(cat("/proc/self/ns/", name));
    const std::string first = read_link(cat("/proc/1/ns/", name));
    if (own.empty() || first.empty() || own == first) continue;
    return Error(Errc::refused,
                 cat("no executor listens, and this shell is not in pid 1's ", name,
                     " namespace: containers of an executor started here would live inside it.\n"
                     "  Start one on the host (gantry executor), or give --here to start it here"));
  }
  return {};
}

Error start_error(const std::string& log_path, std::string what) {
  const std::string words = sys::read_file(log_path).value_or(std::string());
  // The end of the log is where it says why.
  const size_t from = words.size() > 2000 ? words.find('\n', words.size() - 2000) + 1 : 0;
  std::string text = cat("the executor did not start: ", what);
  if (!words.empty()) text += cat("\n", words.substr(from));
  while (text.ends_with('\n')) text.pop_back();
  return {Errc::refused, text};
}

// Detached: a session of its own, no terminal, its words in a file. Returns the child's pid.
Result<pid_t> start(const Location& location, const std::string& log_path) {
  const std::string program = sibling_program("gantry-executor");
  std::vector<std::string> words = {
      program, "--on-demand", "--runtime-dir", location.runtime_dir, "--socket", location.socket};
  if (location.here) words.emplace_back("--here");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const UniqueFd null = GANTRY_TRY(sys::open("/dev/null", O_RDWR));
  const UniqueFd log =
      GANTRY_TRY(sys::open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600));
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) {
    ::setsid();
    ::dup2(null.get(), 0);
    ::dup2(null.get(), 1);
    ::dup2(log.get(), 2);
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

Result<Connection> wait_for_socket(const Location& location, pid_t pid,
                                   const std::string& log_path) {
  const int64_t deadline = sys::monotonic_ns() + kStartDeadlineNs;
  for (int wait_ms = 1;;) {
    Result<Connection> connection = Connection::connect(location.socket);
    if (connection || !nobody_listens(connection.error())) {
      // It outlives us or not: nobody waits for it, so the kernel shall reap it.
      ::signal(SIGCHLD, SIG_IGN);
      return connection;
    }
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) {
      return start_error(log_path, WIFSIGNALED(status)
                                       ? cat("it was ended by signal ", WTERMSIG(status))
                                       : cat("it ended with status ", WEXITSTATUS(status)));
    }
    if (sys::monotonic_ns() > deadline) {
      ::kill(pid, SIGTERM);
      return start_error(log_path, "its socket did not open within 20 seconds");
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

Result<Connection> connect_or_start(const Location& location) {
  Result<Connection> first = Connection::connect(location.socket);
  if (first) return first;
  if (first.error().is_errno(EACCES)) {
    return Error(Errc::refused, cat("no permission to use ", location.socket,
                                    ". Run as root, or as a member of its group"));
  }
  if (!nobody_listens(first.error())) return first;
  if (!location.here) GANTRY_TRY(check_namespaces());
  GANTRY_TRY(sys::ensure_directories(location.runtime_dir, 0700)
                 .context("no executor listens on ", location.socket, ", and none can be started"));
  // ORDER: whoever has the lock looks again first; another one may have started it meanwhile.
  const UniqueFd lock =
      GANTRY_TRY(sys::open(cat(location.runtime_dir, "/on-demand.lock"), O_RDWR | O_CREAT, 0600));
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return Error::from_errno(errno, "lock the runtime directory");
  }
  const std::string log_path = cat(location.runtime_dir, "/on-demand.log");
  for (int attempt = 0;; ++attempt) {
    Result<Connection> again = Connection::connect(location.socket);
    if (again || !nobody_listens(again.error())) return again;
    const pid_t pid = GANTRY_TRY(start(location, log_path));
    Result<Connection> connection = wait_for_socket(location, pid, log_path);
    if (connection || attempt == 1) return connection;
  }
}
}  // namespace gantry::cli
