// LaunchBackend: whoever clones children from plans and sees them exit. Two implementations: the
// long-lived gantry-launcher (RemoteLauncher, launcher/remote_launcher.h), and in-process cloning
// for gantry-runtime.
//
// Threads: loop only. A failed launch leaves no process.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/co.h"
#include "base/process_ref.h"
#include "base/result.h"
#include "launcher/plan.h"

namespace gantry {
// When the logger begins a new file of a stream, and how many it keeps.
struct LogLimits {
  uint64_t bytes = 0;  // of one file; 0: one file without end
  uint32_t files = 1;  // the current one counts
};

// What the launcher keeps for a container beyond the executor's life: the ends of its stdio that
// nobody may close early, and where the logger writes.
struct LaunchIo {
  UniqueFd stdout_read;  // pipe read ends, handed on to the logger; invalid: none
  UniqueFd stderr_read;
  UniqueFd stdin_write;       // kept until half-close; invalid: stdin is /dev/null
  std::string log_directory;  // absolute; the logger makes `stdout` and `stderr` in it
  LogLimits log_limits;
};

// An exit as the launcher recorded it.
struct ExitRecord {
  int wait_status = 0;                                   // raw wait(2) status
  int64_t exit_time_ns = 0;                              // CLOCK_REALTIME
  uint64_t user_us = 0, system_us = 0, max_rss_kib = 0;  // rusage of the process and its children
  bool has_execed = true;  // false: it ended as a child of a launch that never ran its command
};

struct LaunchedChild {
  ProcessRef process;
  UniqueFd report_pipe;  // read end; see wait_exec()
};

// How the key of a process begins that is no container's and ends by itself when the executor dies.
inline constexpr std::string_view kHelperKey = "helper.";
// The same, but it stays where it is until it is killed.
inline constexpr std::string_view kHeldHelperKey = "helper.held.";
// The same, of a launch in a running container, which may be frozen: nothing of it is worth waiting
// for.
inline constexpr std::string_view kLaunchHelperKey = "helper.launch.";

// An entry of the launcher's table, for recovery.
struct KnownChild {
  std::string key;
  ProcessIdentity process;
  std::optional<ExitRecord> exit;
};

class LaunchBackend {
 public:
  virtual ~LaunchBackend() = default;

  // Clones the child of a sealed plan under `key` (ContainerId::hash(), or hash of a nested id;
  // unique in the table, Errc::already_exists). On return the child exists and waits on its signal
  // pipe or is on its way to exec.
  virtual Co<Result<LaunchedChild>> launch(std::string key, LaunchPlan& plan, LaunchIo io) = 0;

  // A child launched under `from` without io, whose plan ended with kNextPlan, gets another key and
  // its io. Its plan is then sent to it by send_plan().
  virtual Co<Result<void>> assign(std::string from, std::string to, LaunchIo io) = 0;

  // The exit of a child, as soon as it is recorded; at once when it already is. Errc::not_found for
  // an unknown key, Errc::timed_out after `limit`. Any number of waiters.
  // When the launcher died meanwhile and nobody can know: Errc::conflict "launcher died".
  virtual Co<Result<ExitRecord>> wait_exit(std::string key,
                                           std::optional<Duration> limit = std::nullopt) = 0;

  // Forgets an exited child: its table slot and kept descriptors. Idempotent.
  virtual Co<Result<void>> forget(std::string key) = 0;

  // A duplicate of the kept write end of stdin; Errc::not_found when there is none any more.
  virtual Co<Result<UniqueFd>> open_stdin(std::string key) = 0;
  // Half-close: drops the kept write end.
  virtual Co<Result<void>> close_stdin(std::string key) = 0;

  // The master of the terminal that a child made (kTerminal): kept as the pipes of others are, read
  // into `stdout` and answered by open_stdin(). The child was launched without io.
  virtual Co<Result<void>> give_terminal(std::string key, UniqueFd master) {
    (void)key, (void)master;
    co_return Error(Errc::unsupported, "this back end keeps no terminals");
  }

  // Takes a process into the table under `key` that is already the launcher's child without having
  // been launched: one that CRIU, itself launched, restored as its sibling (it is as it is), or one
  // that a launched child has forked, which is to exec. It has not run yet. Errc::not_found when it
  // is no child of the launcher.
  enum class Adoptee { as_it_is, to_exec };
  virtual Co<Result<ProcessRef>> adopt(std::string key, pid_t pid, Adoptee what, LaunchIo io) {
    (void)key, (void)pid, (void)what, (void)io;
    co_return Error(Errc::unsupported, "this back end launches only; it cannot adopt");
  }

  // Another number than before a launch says that the launcher of then has died.
  virtual uint64_t generation() const = 0;

  // All entries of the table (after an executor's start).
  virtual Co<Result<std::vector<KnownChild>>> recover() = 0;
};

// Sends a plan without its prelude to the child that waits at the other end (kNextPlan), and closes
// our copies of what it names.
Result<void> send_plan(int socket, LaunchPlan& plan);

// Waits until the child has exec'd or died (end-of-file), waits for its next plan, or failed. A
// failure names the plan's step. `on_barrier` is called for kBarrier reports (may be empty when the
// plan has none). `failed` (may be null; outlives the call) receives the report of a failure: its
// kind says which step it was.
Co<Result<void>> wait_exec(const LaunchPlan& plan, int report_pipe, Duration limit,
                           std::function<Co<Result<void>>(uint32_t)> on_barrier = {},
                           ChildReport* failed = nullptr);
}  // namespace gantry
