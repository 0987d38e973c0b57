// What a new executor does about the launcher's children that are no container's: helpers, and what
// a launch or restore left half made.
#include <csignal>
#include <set>

#include "containerizer/recovery.h"

namespace gantry {
namespace {
// More than CRIU's own limit for stopping tasks (10 s), and less than a client waits for us (20 s).
constexpr auto kLeaveLimit = std::chrono::seconds(12);
// For one that was killed: more than that takes who hangs in the kernel.
constexpr auto kKilledLimit = std::chrono::seconds(2);
}  // namespace

// CRIUs of an interrupted checkpoint: they meet end-of-file and undo what they began.
// KERNEL: one that is killed in the middle of a dump leaves code of its own in the tasks.
Co<void> Recovery::await_helpers() {
  const auto deadline = std::chrono::steady_clock::now() + kLeaveLimit;
  for (auto& [key, child] : children_) {
    if (!key.starts_with(kHelperKey) || key.starts_with(kHeldHelperKey) ||
        key.starts_with(kLaunchHelperKey) || child.exit) {
      continue;
    }
    auto process = ProcessRef::open(child.process);
    if (!process) continue;
    const Duration left = deadline - std::chrono::steady_clock::now();
    (co_await wait_fd(process->pidfd(), Readiness::read, std::max(left, Duration::zero())))
        .ignore("killed as a stranger");
  }
}

Co<void> Recovery::end_half_restored() {
  for (const Found& found : found_) {
    if (found.record.state != ContainerState::restoring) continue;
    (co_await owner_.kill_all(found.container->id)).ignore("settle() asks again");
  }
}

// Children of the launcher that no record names: helpers, and those whose launch died between clone
// and record.
Co<Result<void>> Recovery::end_strangers() {
  std::set<std::string> ours;
  for (const Found& found : found_) ours.insert(found.container->id.hash());
  for (auto& [key, child] : children_) {
    if (ours.contains(key)) continue;
    if (!child.exit) {
      auto process = ProcessRef::open(child.process);
      if (process) process->signal(SIGKILL).ignore("it may be gone");
      if (!process && !process.error().is(Errc::not_found)) co_return std::move(process).error();
      if (process && !co_await wait_fd(process->pidfd(), Readiness::read, kKilledLimit)) {
        note_left("processes", Error(Errc::timed_out, cat("process ", child.process.pid,
                                                          " was killed, and does not end")));
        continue;
      }
      Result<ExitRecord> exit = co_await owner_.parts_.backend.wait_exit(key);
      const bool is_helper = key.starts_with(kHelperKey);
      if (is_helper && (!exit || exit->wait_status != 0)) kill_rest_of_session(child.process.pid);
    }
    (co_await owner_.parts_.backend.forget(key)).ignore("again next time");
  }
  co_return Result<void>();
}
}  // namespace gantry
