#include "launcher/start_launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sealed_program.h"
#include "base/sys.h"
#include "launcher/protocol.h"

namespace gantry {
namespace {
using namespace std::chrono_literals;
constexpr int kLoggerFd = 10;

struct Spawned {
  pid_t pid;
  UniqueFd errors;  // read end of its stderr
};

Result<Spawned> spawn(const LauncherPrograms& programs, const StartLauncher& options) {
  sys::Pipe errors = GANTRY_TRY(sys::pipe(O_NONBLOCK));
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  ::posix_spawn_file_actions_adddup2(&actions, errors.write.get(), 2);
  ::posix_spawn_file_actions_adddup2(&actions, programs.logger.get(), kLoggerFd);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  // A number no file action overwrites: the program is opened by it in the new process.
  UniqueFd program(::fcntl(programs.launcher.get(), F_DUPFD_CLOEXEC, kLoggerFd + 1));
  std::string path = cat("/proc/self/fd/", program.get());
  std::string words[] = {"gantry-launcher", "--runtime-dir",     options.runtime_dir,
                         "--cgroup-root",   options.cgroup_root, "--build",
                         programs.build,    "--logger-fd",       cat(kLoggerFd)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* envp[] = {nullptr};
  pid_t pid = 0;
  int error = ::posix_spawn(&pid, path.c_str(), &actions, &attributes, argv.data(), envp);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return Error::from_errno(error, "start gantry-launcher");
  return Spawned{pid, std::move(errors.read)};
}
}  // namespace

namespace {
// ROOT/launcher in every hierarchy, and ROOT where it is empty then. Errc::busy after `limit`.
Co<Result<void>> remove_cgroups(std::string cgroup_root, Duration limit) {
  std::vector<std::string> left;
  for (const std::string& mount : GANTRY_CO_TRY(cgroup_mount_points())) {
    left.push_back(cat(mount, cgroup_root, "/launcher"));
  }
  // The logger leaves a moment after the launcher.
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    std::erase_if(left, [](const std::string& path) {
      return ::rmdir(path.c_str()) == 0 || errno == ENOENT;
    });
    if (left.empty() || std::chrono::steady_clock::now() > deadline) break;
    co_await sleep_for(2ms);
  }
  for (const std::string& mount : GANTRY_CO_TRY(cgroup_mount_points())) {
    ::rmdir(cat(mount, cgroup_root).c_str());  // stays while it holds anything
  }
  if (!left.empty()) co_return Error(Errc::busy, cat("cgroup ", left[0], " is still in use"));
  co_return Result<void>();
}

Co<Result<LauncherWas>> start_and_wait(const LauncherPrograms& programs,
                                       const StartLauncher& options) {
  Spawned spawned = GANTRY_CO_TRY(spawn(programs, options));
  UniqueFd pidfd = GANTRY_CO_TRY(sys::pidfd_open(spawned.pid));
  auto ended = co_await wait_fd(pidfd.get(), Readiness::read, 20s);
  if (!ended) {
    sys::pidfd_send_signal(pidfd.get(), SIGKILL).ignore("it may have ended by itself");
    ::waitpid(spawned.pid, nullptr, 0);
    co_return std::move(ended.error()).context("start gantry-launcher");
  }
  int status = 0;
  ::waitpid(spawned.pid, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == 0) co_return LauncherWas::started;
  if (code == kExitAlreadyRunning) co_return LauncherWas::there;
  char text[512];
  ssize_t n = ::read(spawned.errors.get(), text, sizeof text);
  std::string what = n > 0 ? std::string(text, static_cast<size_t>(n)) : cat("status ", status);
  while (!what.empty() && what.back() == '\n') what.pop_back();
  co_return Error(Errc::unsupported, cat("start gantry-launcher: ", what));
}
}  // namespace

Result<LauncherPrograms> load_launcher_programs(const std::string& launcher_binary,
                                                const std::string& logger_binary) {
  LauncherPrograms out;
  out.launcher = GANTRY_TRY(seal_program(launcher_binary));
  out.logger = GANTRY_TRY(seal_program(logger_binary));
  out.build = cat(GANTRY_TRY(build_of(out.launcher)), "-", GANTRY_TRY(build_of(out.logger)));
  return out;
}

Co<Result<LauncherWas>> start_launcher(const LauncherPrograms& programs, StartLauncher options) {
  Result<LauncherWas> started = co_await start_and_wait(programs, options);
  // It enters its cgroups before most of what can go wrong.
  if (!started)
    (co_await remove_cgroups(options.cgroup_root, 1s)).ignore("why it failed says more");
  co_return started;
}

Result<std::vector<std::string>> cgroup_mount_points() {
  std::string text = GANTRY_TRY(sys::read_file("/proc/self/mountinfo"));
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    std::string_view line(text.data() + at, end - at);
    at = end + 1;
    size_t type = line.find(" - cgroup");
    if (type == std::string_view::npos) continue;
    std::string_view name = line.substr(type + 3, line.find(' ', type + 3) - type - 3);
    if (name != "cgroup" && name != "cgroup2") continue;
    size_t begin = 0;
    for (int field = 0; field < 4; ++field) begin = line.find(' ', begin) + 1;
    out.emplace_back(line.substr(begin, line.find(' ', begin) - begin));
  }
  return out;
}

Co<Result<void>> remove_launcher(pid_t launcher, std::string runtime_dir, std::string cgroup_root) {
  if (auto pidfd = sys::pidfd_open(launcher)) {
    GANTRY_CO_TRY(co_await wait_fd(pidfd->get(), Readiness::read, 10s));
  }
  Result<void> removed = co_await remove_cgroups(cgroup_root, 10s);
  for (const char* name : {kLauncherSocket, kLoggerSocket, kTableFile, kLauncherLock}) {
    ::unlink(cat(runtime_dir, "/", name).c_str());
  }
  co_return removed;
}
}  // namespace gantry
