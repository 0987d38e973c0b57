// The second half of a launch: its child, from the clone to the exec.
#include <sys/wait.h>

#include <csignal>

#include "base/failpoint.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "containerizer/launch.h"

namespace gantry {
namespace {
// From the end of a dying process's pipes to its own.
constexpr auto kDyingLimit = std::chrono::milliseconds(200);
constexpr size_t kMostPlaces = 500;  // bytes of paths in an error
}  // namespace

Co<Result<void>> Launch::clone() {
  c_.transition(ContainerState::launching);
  GANTRY_FAILPOINT_CO_TRY("launch.before_clone");
  launcher_ = owner_.parts_.backend.generation();
  if (prepared_) {
    GANTRY_CO_TRY(
        co_await owner_.parts_.backend.assign(prepared_->name, c_.id.hash(), std::move(io_)));
    GANTRY_FAILPOINT_CO_TRY("launch.after_assign");
    c_.process.emplace(std::move(prepared_->process));
    report_read_ = std::move(prepared_->report_pipe);
    plan_socket_ = std::move(prepared_->plan_socket);
    prepared_.reset();
    is_prepared_child_ = true;
    co_return Result<void>();
  }
  LaunchedChild child =
      GANTRY_CO_TRY(co_await owner_.parts_.backend.launch(c_.id.hash(), *plan_, std::move(io_)));
  GANTRY_FAILPOINT_CO_TRY("launch.after_clone");
  c_.process.emplace(std::move(child.process));
  report_read_ = std::move(child.report_pipe);
  co_return Result<void>();
}

Co<Result<void>> Launch::isolate() {
  for (Isolator* isolator : owner_.isolators_of(c_)) {
    GANTRY_CO_TRY((co_await isolator->isolate(*context_, *c_.process)).context(isolator->name()));
  }
  GANTRY_FAILPOINT_CO_TRY("launch.after_isolate");
  GANTRY_CO_TRY(owner_.write_record(c_));
  GANTRY_FAILPOINT_CO_TRY("launch.after_pid_recorded");
  co_return Result<void>();
}

// The child has reported that it made its moves and waits.
Co<Result<void>> Launch::on_barrier(uint32_t number) {
  if (number == kTerminalBarrier) co_return co_await take_terminal();
  if ((number & kForkBarrier) != 0) {
    co_return co_await on_fork(static_cast<pid_t>(number & ~kForkBarrier));
  }
  GANTRY_CO_TRY(co_await verify_cgroups());
  co_return give_signal();
}

Co<Result<void>> Launch::verify_cgroups() {
  const Result<void> joined = co_await owner_.parts_.cgroups.verify(
      context_->cgroup_name, c_.process->pid(), std::chrono::seconds(1));
  // A death takes it out of its cgroups.
  if (!joined && c_.process->ended()) co_return co_await explain_death();
  if (!joined) co_return Error(Errc::conflict, joined.error().to_string());
  co_return Result<void>();
}

Result<void> Launch::give_signal() {
  GANTRY_FAILPOINT_TRY("launch.before_signal");
  if (plan_socket_.valid()) {
    GANTRY_TRY(send_plan(plan_socket_.get(), *plan_));
    plan_socket_.reset();
  } else {
    GANTRY_TRY(sys::write_all(signal_write_.get(), "s").context("signal the child"));
    signal_write_.reset();
  }
  GANTRY_FAILPOINT_TRY("launch.after_signal");
  return {};
}

Co<Result<void>> Launch::signal_and_exec() {
  // Where a prepared child is in its cgroups was read back when it was prepared.
  if (plan_socket_.valid()) GANTRY_CO_TRY(give_signal());
  Result<void> started = co_await wait_exec(*plan_, report_read_.get(), owner_.config_.setup_limit,
                                            [this](uint32_t n) { return on_barrier(n); });
  if (!started && started.error().is(Errc::timed_out)) co_return explain_hang();
  GANTRY_CO_TRY(std::move(started));
  GANTRY_CO_TRY(co_await check_ran());
  GANTRY_FAILPOINT_CO_TRY("launch.after_exec");
  if (is_prepared_child_) ++owner_.prepared_launches_;
  c_.started_ns = sys::realtime_ns();
  c_.transition(ContainerState::running);
  owner_.tell(c_, c_.parent ? "exec_start" : "start");
  co_return Result<void>();
}

// Its child is at one of its steps, most likely at a path of a file system that does not answer.
Error Launch::explain_hang() const {
  const pid_t pid = (helper_ ? *helper_ : *c_.process).pid();
  std::string places;
  if (c_.rootfs.kind == Rootfs::Kind::directory) places = c_.rootfs.directory;
  for (const MountSpec& mount : c_.spec->mounts) {
    if (mount.source.empty() || places.size() > kMostPlaces) continue;
    places += cat(places.empty() ? "" : ", ", mount.source);
  }
  return Error(Errc::timed_out,
               cat("the container is not started after ", owner_.config_.setup_limit.count(),
                   " s: its first process (pid ", pid, ")", describe_wait(pid),
                   places.empty() ? "" : cat("; does the file system answer of ", places, "?")));
}

// KERNEL: a death closes the report pipe as an exec does, a moment before the process has ended.
Co<Result<void>> Launch::check_ran() {
  if (!c_.process) co_return co_await explain_death();  // a helper that never forked it
  LaunchBackend& backend = owner_.parts_.backend;
  Result<ProcessStat> stat = process_stat(c_.process->pid());
  if (stat && stat->start_time == c_.process->identity().start_time) {
    has_never_run_ = !stat->has_execed();
  } else if (c_.process->ended()) {
    Result<ExitRecord> exit = co_await backend.wait_exit(c_.id.hash());
    has_never_run_ = exit && !exit->has_execed;
    // KERNEL: a launcher's death kills the children of its that have not exec'd (PR_SET_PDEATHSIG),
    // and who reaped this one has not looked.
    const bool is_killed =
        !exit || (WIFSIGNALED(exit->wait_status) && WTERMSIG(exit->wait_status) == SIGKILL);
    if (is_killed && backend.generation() != launcher_) co_return co_await explain_death();
  }
  if (has_never_run_) co_return co_await explain_death();
  co_return Result<void>();
}

// KERNEL: a child that was just cloned holds copies of its launcher's sockets, so that the
// launcher's death may show a moment after another child's.
Co<Error> Launch::explain_death() {
  if (Result<void> wanted = still_wanted(); !wanted) co_return std::move(wanted).error();
  if (owner_.parts_.backend.generation() != launcher_) {
    co_return Error(Errc::conflict, "the launcher died while it was starting this container");
  }
  const ExitOutcome outcome =
      co_await owner_.explain_exit(container_, ExitRecord{.wait_status = SIGKILL});
  co_return Error(Errc::conflict, cat("the container's first process was killed before it could "
                                      "run the command",
                                      outcome.reason.empty() ? "" : ": ", outcome.reason));
}

// Whether what failed is that a prepared child was killed: nothing of the container has run.
Co<bool> Launch::has_lost_prepared() {
  const bool is_waiting = prepared_ || (is_prepared_child_ && plan_socket_.valid());
  if (c_.kill_requested || c_.state() != ContainerState::launching) co_return false;
  if (!is_waiting) co_return (is_prepared_child_ && has_never_run_);
  const ProcessRef& process = prepared_ ? prepared_->process : *c_.process;
  co_return (co_await wait_fd(process.pidfd(), Readiness::read, kDyingLimit)).has_value();
}

// Undoes all that was made for the child that was lost; what was provisioned stays.
Co<Result<void>> Launch::start_over() {
  if (prepared_) owner_.prepared_.give_up(std::move(*prepared_));
  prepared_.reset();
  (co_await owner_.parts_.backend.wait_exit(c_.id.hash())).ignore("it may not have got the key");
  GANTRY_CO_TRY(co_await owner_.parts_.backend.forget(c_.id.hash()));
  co_await owner_.clean_kernel_objects(container_);
  c_.scope.reopen();
  c_.limitation.reset();
  is_prepared_child_ = has_never_run_ = false;
  builder_ = LaunchPlan::Builder();
  plan_.reset();
  io_ = LaunchIo();
  plan_socket_.reset();
  report_read_.reset();
  co_return owner_.write_record(c_);
}
}  // namespace gantry
