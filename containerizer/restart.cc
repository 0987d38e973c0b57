#include "containerizer/restart.h"

#include <algorithm>

#include "base/failpoint.h"
#include "base/sys.h"
#include "containerizer/launch.h"
#include "containerizer/refusals.h"

namespace gantry {
namespace {
// Until the disk is looked at again for a restart.
constexpr auto kRoomPause = std::chrono::seconds(1);
}  // namespace

bool wants_restart(const RestartQuestion& q) {
  const bool has_failed = q.outcome.kind != ExitOutcome::Kind::exited || q.outcome.code != 0;
  switch (q.policy.kind) {
    case RestartPolicy::Kind::no:
      return false;
    case RestartPolicy::Kind::on_failure:
      return has_failed && !q.was_stopped &&
             (q.policy.most_restarts == 0 || q.restarts < q.policy.most_restarts);
    case RestartPolicy::Kind::always:
      return !q.was_stopped || q.after_reboot;
    case RestartPolicy::Kind::unless_stopped:
      return !q.was_stopped;
  }
  return false;
}

Duration restart_delay(uint32_t short_runs) {
  using namespace std::chrono_literals;
  return std::min<Duration>(100ms * (1u << std::min(short_runs, 10u)), 60s);
}

void Containerizer::consider_restart(ContainerPtr container, AfterReboot after_reboot) {
  if (!container->outcome || container->parent || container->restart_due) return;
  if (!container->restart_wanted &&
      !wants_restart({.policy = container->spec->restart,
                      .outcome = *container->outcome,
                      .restarts = container->restarts,
                      .was_stopped = container->was_stopped,
                      .after_reboot = after_reboot == AfterReboot::yes})) {
    return;
  }
  container->restart_due = true;
  container->was_stopped = false;
  scope_.spawn(restart_when_due(std::move(container)));
}

Co<void> Containerizer::restart_when_due(ContainerPtr container) {
  const auto ran = std::chrono::nanoseconds(container->exited_ns - container->started_ns);
  container->short_runs = ran < kLongRun ? container->short_runs + 1 : 0;
  const auto due = std::chrono::steady_clock::now() +
                   restart_delay(container->short_runs == 0 ? 0 : container->short_runs - 1);
  auto is_wanted = [&container] {
    return container->state() == ContainerState::exited && !container->removing &&
           !container->was_stopped;
  };
  while (is_wanted()) {
    const auto left = due - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return;
  }
  while (!is_recovered_) {
    co_await sleep_for(std::chrono::milliseconds(10));
    if (co_await is_cancelled()) co_return;
  }
  // A full host, or a copy into it, is no fault of the container's: it counts as no run.
  while (is_wanted() && (container->is_written || !require_room(container->id))) {
    co_await container->changed.wait(kRoomPause);
    if (co_await is_cancelled()) co_return;
  }
  container->restart_due = false;
  if (!is_wanted()) co_return;
  (co_await uncancellable(run_again(container))).ignore("its outcome says why it did not run");
  if (container->state() == ContainerState::exited) consider_restart(container, AfterReboot::no);
}

// Of those that would run again by themselves: it is not to.
Co<Result<void>> Containerizer::note_stop(ContainerPtr container) {
  const bool would_run = std::exchange(container->restart_wanted, false) ||
                         container->spec->restart.kind != RestartPolicy::Kind::no;
  if (!would_run || container->was_stopped) co_return Result<void>();
  container->was_stopped = true;
  container->changed.notify();
  if (container->state() == ContainerState::created) co_return Result<void>();
  Result<void> recorded = write_record(*container);
  Result<void> registered = co_await update_registration(*container, record_of(*container));
  if (recorded) recorded = std::move(registered);
  co_return std::move(recorded).context(
      "it is stopped, but its restart policy may run it again after a reboot: this could not be "
      "recorded");
}

// From Created or Exited to Running: the same id, sandbox and writable layer. A launch that fails
// is an end like another one's.
Co<Result<void>> Containerizer::run_again(ContainerPtr container) {
  GANTRY_FAILPOINT_CO_TRY("restart.before");
  co_await forget_undrained(container);
  // Meanwhile others may have begun the same, or its removal.
  GANTRY_CO_TRY(require_startable(*container));
  Result<ContainerSpec> spec = parts_.parse_spec(container->spec->request_bytes);
  if (!spec) co_return std::move(spec).error();
  mount_init(*spec, parts_.init.mounted());
  container->spec = std::make_shared<const ContainerSpec>(std::move(*spec));
  container->former_outcome = std::exchange(container->outcome, std::nullopt);
  container->former_exited_ns = std::exchange(container->exited_ns, 0);
  container->limitation.reset();
  container->kill_requested = false;
  container->ran_before = true;
  container->phases.clear();
  container->killed_because.clear();
  container->restart_wanted = false;
  forget_health(*container);
  if (container->state() == ContainerState::exited) ++container->restarts;
  container->scope.reopen();
  container->transition(ContainerState::creating);
  Launch launch(*this, container);
  Result<void> result = co_await launch.run();
  if (result) {
    container->former_outcome.reset();
    start_watching(container);
    co_return result;
  }
  const std::string reason = result.error().to_string();
  if (co_await finish(container, {ExitOutcome::Kind::failed, 0, false, reason})) {
    container->former_outcome.reset();
  }
  co_return result;
}
}  // namespace gantry
