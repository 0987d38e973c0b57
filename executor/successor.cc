#include "executor/successor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/cgroup_fs.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr int kFirstHanded = 3;  // SD_LISTEN_FDS_START
constexpr int kMostHanded = 8;
// The lock's descriptor, which keeps its number.
constexpr std::string_view kLockVariable = "GANTRY_LOCK_FD";
constexpr auto kTrialLimit = std::chrono::seconds(10);

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

std::string variable(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : value;
}

bool is_listening_unix(int fd) {
  int listens = 0, domain = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) return false;
  size = sizeof domain;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && listens != 0 &&
         domain == AF_UNIX;
}
}  // namespace

StartedAs started_as(int argc, char** argv) {
  StartedAs out;
  out.arguments.assign(argv + 1, argv + argc);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name =
        std::string_view(*entry).substr(0, std::string_view(*entry).find('='));
    if (!name.starts_with("GANTRY_") || name == kLockVariable) continue;
    out.environment.emplace_back(*entry);
  }
  return out;
}

Handed take_handed() {
  Handed out;
  int pid = 0, count = 0, lock = -1;
  if (!parse_number(std::string_view(variable("LISTEN_PID")), pid) || pid != ::getpid() ||
      !parse_number(std::string_view(variable("LISTEN_FDS")), count) || count < 0 ||
      count > kMostHanded) {
    return out;
  }
  if (parse_number(std::string_view(variable(kLockVariable.data())), lock) &&
      ::fcntl(lock, F_SETFD, FD_CLOEXEC) == 0) {
    out.lock.reset(lock);
  }
  const std::string names = variable("LISTEN_FDNAMES");
  const std::vector<std::string_view> words = split(names, ':');
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(kFirstHanded + i);
    if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) {
      (void)fd.release();
      continue;
    }
    const std::string_view name =
        static_cast<size_t>(i) < words.size() ? words[static_cast<size_t>(i)] : std::string_view();
    if (name == "insecure") {
      out.insecure = std::move(fd);
    } else if (name == "tls") {
      out.tls = std::move(fd);
    } else if (is_listening_unix(fd.get())) {
      out.socket = std::move(fd);
    }
  }
  return out;
}

namespace {
struct Trial {
  int status = 0;    // of wait(2)
  std::string said;  // the beginning of its output
};

Co<Result<Trial>> run_trial(std::string program, StartedAs start) {
  sys::Pipe said = GANTRY_CO_TRY(sys::pipe(O_NONBLOCK));
  start.arguments.insert(start.arguments.begin(), program);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, said.write.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, said.write.get(), 2);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, pointers(start.arguments).data(),
                    pointers(start.environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) co_return Error::from_errno(error, cat("start ", program));
  UniqueFd pidfd = GANTRY_CO_TRY(sys::pidfd_open(pid));
  Result<void> ended = co_await wait_fd(pidfd.get(), Readiness::read, kTrialLimit);
  if (!ended) sys::pidfd_send_signal(pidfd.get(), SIGKILL).ignore("it may have ended meanwhile");
  Trial out;
  ::waitpid(pid, &out.status, 0);
  if (!ended) co_return std::move(ended).error().context("try ", program);
  std::array<char, 2048> text;
  const ssize_t n = ::read(said.read.get(), text.data(), text.size());
  if (n > 0) out.said = trim(std::string_view(text.data(), static_cast<size_t>(n)));
  co_return out;
}
}  // namespace

Co<Result<void>> try_successor(std::string program, StartedAs start) {
  const Trial version =
      GANTRY_CO_TRY(co_await run_trial(program, {.arguments = {"--version"}, .environment = {}}));
  if (version.status != 0 || !version.said.starts_with("gantry-executor ")) {
    co_return Error(Errc::invalid,
                    cat(program, " is no gantry-executor: it answers --version with \"",
                        version.said.substr(0, 60), "\""));
  }
  start.arguments.emplace_back("--check-configuration");
  const Trial check = GANTRY_CO_TRY(co_await run_trial(program, std::move(start)));
  if (check.status == 0) co_return Result<void>();
  const std::string how = WIFSIGNALED(check.status) ? cat("signal ", WTERMSIG(check.status))
                                                    : cat("status ", WEXITSTATUS(check.status));
  co_return Error(Errc::invalid, cat(program, " does not accept this executor's configuration: ",
                                     check.said.empty() ? cat("it ended with ", how) : check.said));
}

Error become_successor(const std::string& program, const StartedAs& start, Handed handed) {
  StartedAs next = start;
  next.arguments.insert(next.arguments.begin(), program);
  // Out of the way first: a target may be another's number.
  std::vector<std::pair<UniqueFd, const char*>> sockets;
  for (auto [fd, name] : {std::pair(&handed.socket, "socket"),
                          std::pair(&handed.insecure, "insecure"), std::pair(&handed.tls, "tls")}) {
    if (!*fd) continue;
    sockets.emplace_back(UniqueFd(::fcntl(fd->get(), F_DUPFD_CLOEXEC, kFirstHanded + kMostHanded)),
                         name);
  }
  std::string names;
  int count = 0;
  for (auto& [fd, name] : sockets) {
    if (::dup2(fd.get(), kFirstHanded + count) < 0) {
      return Error::from_errno(errno, cat("hand over the ", name));
    }
    names += cat(count == 0 ? "" : ":", name);
    ++count;
  }
  // KERNEL: a record lock stays over exec, but goes when any descriptor of its file is closed:
  // this very one is kept.
  if (handed.lock) {
    ::fcntl(handed.lock.get(), F_SETFD, 0);
    next.environment.push_back(cat(kLockVariable, "=", handed.lock.get()));
  }
  next.environment.push_back(cat("LISTEN_PID=", ::getpid()));
  next.environment.push_back(cat("LISTEN_FDS=", count));
  next.environment.push_back(cat("LISTEN_FDNAMES=", names));
  ::execve(program.c_str(), pointers(next.arguments).data(), pointers(next.environment).data());
  return Error::from_errno(errno, cat("become ", program));
}
}  // namespace gantry
