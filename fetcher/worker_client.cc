#include "fetcher/worker_client.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/sys.h"

namespace gantry {
namespace {
using Clock = std::chrono::steady_clock;
constexpr int kRequestFd = 3;  // the worker's end of the socket; what it is given follows
// Sources are moved above every target number first, so that no dup2 overwrites a later source.
constexpr int kAboveTargets = 400;
// From its answer, or from SIGKILL, to its end.
constexpr auto kEndLimit = std::chrono::seconds(2);
constexpr auto kKilledLimit = std::chrono::seconds(1);

class SpawnSetup {
 public:
  SpawnSetup() {
    GANTRY_CHECK(posix_spawn_file_actions_init(&actions_) == 0);
    GANTRY_CHECK(posix_spawnattr_init(&attributes_) == 0);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_addchdir_np(&actions_, "/");
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Result<void> give(int fd, int target) {
    UniqueFd high(::fcntl(fd, F_DUPFD_CLOEXEC, kAboveTargets));
    if (!high) return Error::from_errno(errno, "duplicate a descriptor for gantry-worker");
    posix_spawn_file_actions_adddup2(&actions_, high.get(), target);
    kept_.push_back(std::move(high));
    return {};
  }
  Result<pid_t> start(const UniqueFd& program, char* const argv[]) {
    // Above the targets too: the new process opens it by its number.
    const UniqueFd high(::fcntl(program.get(), F_DUPFD_CLOEXEC, kAboveTargets));
    if (!high) return Error::from_errno(errno, "duplicate a descriptor of gantry-worker");
    const std::string path = cat("/proc/self/fd/", high.get());
    pid_t pid = 0;
    char* const environment[] = {nullptr};
    // KERNEL: glibc's posix_spawn is clone(CLONE_VM | CLONE_VFORK): no copy of our address space,
    // and the child runs only async-signal-safe code before exec.
    int error = ::posix_spawn(&pid, path.c_str(), &actions_, &attributes_, argv, environment);
    if (error != 0) return Error::from_errno(error, "start gantry-worker");
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  std::vector<UniqueFd> kept_;
};

std::string describe_death(int status) {
  if (WIFSIGNALED(status)) {
    int number = WTERMSIG(status);
    const char* name = ::sigdescr_np(number);
    return cat("was ended by signal ", number, " (", name == nullptr ? "unknown" : name, ")");
  }
  return cat("exited with ", WEXITSTATUS(status), " without an answer");
}

Co<Result<void>> send_bytes(int socket, std::string bytes, Clock::time_point deadline) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    ssize_t n = ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      rest.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      GANTRY_CO_TRY(co_await wait_fd(socket, Readiness::write, deadline - Clock::now()));
    } else if (errno != EINTR) {
      co_return Error::from_errno(errno, "send to gantry-worker");
    }
  }
  co_return Result<void>();
}

// Exactly `size` bytes; end-of-file before is Errc::corrupt.
Co<Result<std::string>> receive_bytes(int socket, size_t size, Clock::time_point deadline) {
  std::string out(size, '\0');
  size_t used = 0;
  while (used < size) {
    ssize_t n = ::recv(socket, out.data() + used, size - used, MSG_DONTWAIT);
    if (n > 0) {
      used += static_cast<size_t>(n);
    } else if (n == 0) {
      co_return Error(Errc::corrupt, "gantry-worker closed its socket");
    } else if (errno == EAGAIN) {
      GANTRY_CO_TRY(co_await wait_fd(socket, Readiness::read, deadline - Clock::now()));
    } else if (errno == ECONNRESET) {
      co_return Error(Errc::corrupt, "gantry-worker closed its socket");
    } else if (errno != EINTR) {
      co_return Error::from_errno(errno, "receive from gantry-worker");
    }
  }
  co_return out;
}
}  // namespace

struct WorkerClient::Child {
  pid_t pid = 0;
  UniqueFd pidfd;
  UniqueFd socket;
};

WorkerClient::WorkerClient(asio::any_io_executor executor, WorkerOptions options)
    : options_(std::move(options)), stuck_(std::move(executor)) {}

WorkerClient::~WorkerClient() = default;

Result<WorkerClient::Child> WorkerClient::spawn(const WorkerRequest& request) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return Error::from_errno(errno, "make a socket pair");
  }
  Child child;
  child.socket = UniqueFd(pair[0]);
  UniqueFd theirs(pair[1]);
  UniqueFd null = GANTRY_TRY(sys::open("/dev/null", O_RDWR));
  SpawnSetup setup;
  GANTRY_TRY(setup.give(request.input ? request.input.get() : null.get(), 0));
  GANTRY_TRY(setup.give(null.get(), 1));
  GANTRY_TRY(setup.give(null.get(), 2));
  GANTRY_TRY(setup.give(theirs.get(), kRequestFd));
  int target = kRequestFd;
  if (request.fds.size() >= kAboveTargets - 10) {
    return Error(Errc::exhausted, cat("a job with ", request.fds.size(), " directories at once"));
  }
  for (const UniqueFd& fd : request.fds) GANTRY_TRY(setup.give(fd.get(), ++target));
  std::string job = request.job, parent = cat(::getpid()), last = cat(target);
  std::string name = "gantry-worker";
  char* const argv[] = {name.data(), job.data(), parent.data(), last.data(), nullptr};
  child.pid = GANTRY_TRY(setup.start(options_.program, argv));
  auto pidfd = sys::pidfd_open(child.pid);
  if (!pidfd) {
    int status;
    ::kill(child.pid, SIGKILL);
    // It has hardly begun, and touches nothing that could hold it up.
    ::waitpid(child.pid, &status, 0);
    return std::move(pidfd).error();
  }
  child.pidfd = std::move(*pidfd);
  return child;
}

Co<Result<Fields>> WorkerClient::converse(int socket, std::string request, Duration limit) {
  auto deadline = Clock::now() + limit;
  auto size = static_cast<uint32_t>(request.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += request;
  // A worker that died early is told apart by its wait status, not by our EPIPE.
  auto sent = co_await send_bytes(socket, std::move(frame), deadline);
  if (!sent && !sent.error().is_errno(EPIPE)) co_return std::move(sent).error();
  std::string head = GANTRY_CO_TRY(co_await receive_bytes(socket, sizeof size, deadline));
  std::memcpy(&size, head.data(), sizeof size);
  if (size > kMaxWorkerMessage)
    co_return Error(Errc::corrupt, "gantry-worker's answer is too long");
  std::string body = GANTRY_CO_TRY(co_await receive_bytes(socket, size, deadline));
  Fields answer = GANTRY_CO_TRY(Fields::decode(body));
  GANTRY_CO_TRY(check_error(answer));
  co_return answer;
}

// The raw wait status; -1 when the process hangs in the kernel and is left for reap_later().
Co<int> WorkerClient::reap(Child child, bool kill_first) {
  if (kill_first) ::kill(child.pid, SIGKILL);
  child.socket.reset();
  auto deadline = Clock::now() + (kill_first ? kKilledLimit : kEndLimit);
  for (;;) {
    int status = 0;
    pid_t got = ::waitpid(child.pid, &status, WNOHANG);
    if (got == child.pid) co_return status;
    if (got < 0 && errno != EINTR) co_return -1;
    auto ended = co_await wait_fd(child.pidfd.get(), Readiness::read, deadline - Clock::now());
    if (ended || Clock::now() < deadline) continue;
    if (kill_first) break;
    kill_first = true;
    ::kill(child.pid, SIGKILL);
    deadline = Clock::now() + kKilledLimit;
  }
  stuck_.spawn(reap_later(std::move(child)));
  co_return -1;
}

Co<void> WorkerClient::reap_later(Child child) {
  if (!co_await wait_fd(child.pidfd.get(), Readiness::read)) co_return;
  int status;
  ::waitpid(child.pid, &status, WNOHANG);
}

Co<Result<Fields>> WorkerClient::run(WorkerRequest request) {
  auto deadline = Clock::now() + request.limit;
  Turns& turns =
      turns_.try_emplace(request.job, stuck_.executor(), options_.max_workers).first->second;
  auto turn = co_await turns.take(request.limit);
  if (!turn) co_return std::move(turn).error().context(cat(request.job, ": waiting for a worker"));
  auto child = spawn(request);
  if (!child) co_return std::move(child).error().context(request.job);
  request.fds.clear();
  request.input.reset();
  auto answer =
      co_await converse(child->socket.get(), request.fields.encode(), deadline - Clock::now());
  // Its answer is the last thing a worker does, so killing it then is harmless; one that ended its
  // side of the conversation is dying, and how is worth knowing.
  bool died = !answer && answer.error().is(Errc::corrupt);
  int status = co_await reap(std::move(*child), !died);
  if (died && status >= 0 && WIFSIGNALED(status)) {
    co_return Error(Errc::corrupt, cat(request.job, ": gantry-worker ", describe_death(status)));
  }
  if (!answer && answer.error().is(Errc::timed_out)) {
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(request.limit).count();
    co_return Error(Errc::timed_out, cat(request.job, ": not done after ", seconds, " s"));
  }
  co_return answer;
}
}  // namespace gantry
