// The end of a container, from the exit of its first process (or a failed launch) to its removal.
#include <fcntl.h>

#include <algorithm>
#include <csignal>

#include "base/failpoint.h"
#include "base/path_at.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "containerizer/containerizer.h"
#include "containerizer/launch.h"
#include "containerizer/registrations.h"
#include "containerizer/sandbox.h"

namespace gantry {
namespace {
constexpr auto kKillLimit = std::chrono::seconds(5);
// While an executor starts nobody waits for what is stuck.
constexpr auto kFirstLook = std::chrono::milliseconds(200);
// What did not go by then is asked for again, in steps between these, for as long as it takes.
constexpr Duration kFirstPause = std::chrono::milliseconds(200);
constexpr Duration kLongestPause = std::chrono::seconds(10);
// After so many attempts an error that does not look passing is taken as final.
constexpr int kMostAttempts = 3;
constexpr auto kDestroyLimit = std::chrono::seconds(30);
constexpr auto kAnswerLimit = std::chrono::milliseconds(5);

// What may be otherwise at the next attempt.
bool is_passing(const Error& error) {
  constexpr int kShort[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN, EBUSY};
  return error.is(Errc::busy) || error.is(Errc::timed_out) ||
         std::ranges::any_of(kShort, [&](int value) { return error.is_errno(value); });
}

Error stuck(const Container& container, std::string_view why) {
  return {Errc::busy,
          cat("container '", container.id.to_string(), "' was killed and has not ended: ", why,
              "; it ends when what it waits for answers or is given up (of a dead file server: "
              "`umount -f`)")};
}
}  // namespace

// Its child may be stuck in the kernel, where a volume's file server does not answer: then this
// takes until that lets go.
Co<void> Containerizer::undo_launch(ContainerPtr container, std::shared_ptr<Launch> launch) {
  co_await uncancellable([](Containerizer* self, ContainerPtr c,
                            std::shared_ptr<Launch> l) -> Co<bool> {
    if (c->parent) co_await l->end_helper();
    const std::string reason = c->launch_error->to_string();
    const bool is_over = co_await self->finish(c, {ExitOutcome::Kind::failed, 0, false, reason});
    // Whatever storage cannot be removed now is found again by recovery, under the id's name.
    if (is_over) (co_await self->remove_storage(c)).ignore("the launch's own error counts");
    c->is_undone = true;
    c->changed.notify();
    co_return is_over;
  }(this, std::move(container), std::move(launch)));
}

// Of one that a former executor started, and that has ended.
Co<void> Containerizer::end_recovered(ContainerPtr container, ExitOutcome outcome, bool has_run,
                                      bool is_child, AfterReboot after_reboot) {
  const bool is_over = co_await uncancellable(
      [](Containerizer* self, ContainerPtr c, ExitOutcome o, bool ran, bool child) -> Co<bool> {
        if (child && !co_await self->await_end(c->id.hash())) co_return false;
        if (!co_await self->finish(c, std::move(o))) co_return false;
        c->former_outcome.reset();
        if (!ran) (co_await self->remove_storage(c)).ignore("again next time");
        co_return ran;
      }(this, container, std::move(outcome), has_run, is_child));
  if (!is_over) co_return;
  if (container->spec->remove_on_exit) scope_.spawn(remove_when_read(container));
  consider_restart(container, after_reboot);
}

// False: this executor ends before the process does.
Co<bool> Containerizer::await_end(std::string key) {
  for (;;) {
    Result<ExitRecord> exit = co_await parts_.backend.wait_exit(key, std::chrono::seconds(1));
    if (exit || !exit.error().is(Errc::timed_out)) co_return true;
    if (is_closing_) co_return false;
  }
}

Co<bool> Containerizer::finish(ContainerPtr container, ExitOutcome outcome) {
  GANTRY_FAILPOINT("destroy.before_kill");
  if (container->state() == ContainerState::exited) co_return true;
  container->transition(ContainerState::destroying);
  if (container->exited_ns == 0) container->exited_ns = sys::realtime_ns();
  container->ended_at = std::chrono::steady_clock::now();
  if (outcome.kind == ExitOutcome::Kind::failed && container->process) {
    // The child of a failed launch ends by itself; be sure, and let the launcher record it.
    container->process->signal(SIGKILL).ignore("it may be gone");
    if (!co_await await_end(container->id.hash())) co_return false;
  }
  if (container->process) {
    // ORDER: all output is in the files before a waiter hears of the end.
    co_await flush_output(container);
  }
  GANTRY_FAILPOINT("destroy.after_flush");
  container->outcome = std::move(outcome);
  tell_end(*container);
  container->changed.notify();
  if (container->parent) co_await let_readers_go(container);
  if (!co_await clean_until_gone(container)) co_return false;
  GANTRY_FAILPOINT("destroy.before_record");
  co_await record_end(container);
  container->transition(ContainerState::exited);
  co_return true;
}

// Who follows a command's output gets its exit before it is cleaned up after, which nobody waits
// for: a command has no port, name or address that the next one could want.
Co<void> Containerizer::let_readers_go(ContainerPtr container) {
  const auto deadline = std::chrono::steady_clock::now() + kAnswerLimit;
  while (container->readers > 0) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) co_return;
    co_await container->changed.wait(left);
  }
}

// Of a run; a launch that failed was none.
void Containerizer::tell_end(const Container& container) const {
  if (container.outcome->kind == ExitOutcome::Kind::failed) return;
  EventAttributes attributes = {{"exit_code", cat(container.outcome->shell_status())}};
  if (!container.outcome->reason.empty())
    attributes.emplace_back("reason", container.outcome->reason);
  tell(container, container.parent ? "exec_die" : "die", std::move(attributes));
}

Co<bool> Containerizer::clean_until_gone(ContainerPtr container) {
  const auto began = std::chrono::steady_clock::now();
  Duration pause = kFirstPause;
  for (int attempt = 1;; ++attempt) {
    const bool may_pass = !co_await clean_kernel_objects(container);
    if (container->cleanup_errors.empty() || (!may_pass && attempt >= kMostAttempts)) break;
    // What has failed once, and at once, is not worth an error to who waits.
    if (may_pass && std::chrono::steady_clock::now() - began >= kFirstPause) {
      container->stuck_on = container->cleanup_errors.front();
      container->changed.notify();
    }
    if (!is_closing_) co_await closing_.wait(pause);
    if (is_closing_) co_return false;
    pause = std::min(pause * 2, kLongestPause);
  }
  container->stuck_on.clear();
  co_return true;
}

Co<void> Containerizer::record_end(ContainerPtr container) {
  // A command's record goes next.
  const bool is_fleeting = container->parent && container->spec->remove_on_exit &&
                           container->output == Container::Output::ended;
  container->restore_state(ContainerState::exited);
  const bool is_recorded = !is_fleeting && write_record(*container);
  std::string record = record_of(*container);
  // ORDER: before anything is awaited: an Exited one can be removed.
  container->restore_state(ContainerState::destroying);
  // A launch that failed is forgotten, unless it ran before.
  if (container->outcome->kind != ExitOutcome::Kind::failed || container->ran_before) {
    (co_await update_registration(*container, std::move(record)))
        .ignore("after a reboot its end would be unknown");
  }
  GANTRY_FAILPOINT("destroy.after_record");
  // With no record, or no room for it, the launcher's table tells the end, until it is removed.
  container->is_end_in_table = !is_recorded;
  if (is_recorded) co_await forget_process(container);
  GANTRY_FAILPOINT("destroy.after_forget");
}

// False: something is still there that may go at the next attempt.
Co<bool> Containerizer::clean_kernel_objects(ContainerPtr container) {
  co_await container->scope.close();
  container->cleanup_errors.clear();
  bool is_done = true;
  (co_await kill_all(container->id)).ignore("retried by cleanup");
  GANTRY_FAILPOINT("destroy.after_kill");
  co_await wait_nested_ended(container);
  const std::vector<Isolator*>& isolators = isolators_of(*container);
  for (size_t i = isolators.size(); i-- > 0;) {
    Isolator* isolator = isolators[i];
    Result<void> cleaned = co_await isolator->cleanup(container->id);
    if (!cleaned) {
      container->cleanup_errors.push_back(cat(isolator->name(), ": ", cleaned.error().to_string()));
      is_done = is_done && !is_passing(cleaned.error());
    }
    GANTRY_FAILPOINT("destroy.after_isolator_cleanup");
  }
  container->process.reset();
  co_return is_done;
}

// The next executor goes on with it.
Result<void> Containerizer::note_removal(const Container& container) const {
  GANTRY_TRY(sys::open(removal_note_of(container), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600));
  return {};
}

std::string Containerizer::removal_note_of(const Container& container) const {
  return cat(runtime_dir_of(container), "/removing");
}

Co<Result<void>> Containerizer::remove_storage(ContainerPtr container) {
  GANTRY_FAILPOINT_CO_TRY("remove.before_storage");
  co_await forget_undrained(container);
  note_removal(*container).ignore("then an executor that finds it half-gone leaves it like that");
  // ORDER: first: what is half-removed is not to come back after a reboot.
  if (container->is_registered()) {
    GANTRY_CO_TRY(
        co_await offload([data_dir = config_.data_dir, name = container->directory_name()] {
          return remove_registration(data_dir, name);
        }));
  }
  GANTRY_FAILPOINT_CO_TRY("remove.after_registration");
  if (!container->rootfs.snapshot_key.empty()) {
    GANTRY_CO_TRY(co_await parts_.provisioner.remove(container->id));
  }
  GANTRY_FAILPOINT_CO_TRY("remove.after_snapshot");
  const std::string sandbox = sandbox_of(*container);
  if (!container->parent || !spare_sandboxes_.give_back(sandbox)) {
    GANTRY_CO_TRY(co_await remove_sandbox(parts_.worker, sandbox));
  }
  GANTRY_FAILPOINT_CO_TRY("remove.after_sandbox");
  if (container->is_end_in_table) {
    GANTRY_CO_TRY(co_await parts_.backend.forget(container->id.hash()));
  }
  // ORDER: the record last: as long as it is there a new executor knows what may be left.
  DirFd containers = GANTRY_CO_TRY(DirFd::open(cat(config_.runtime_dir, "/containers")));
  GANTRY_CO_TRY(remove_tree_at(containers.get(), container->directory_name()));
  if (!container->spec->name.empty()) names_.erase(container->spec->name);
  containers_.erase(container->id);
  if (container->parent) container->parent->nested.erase(container->id);
  if (container->state() != ContainerState::removed) {
    container->transition(ContainerState::removed);
  }
  if (!container->parent) tell(*container, "destroy");
  co_return Result<void>();
}

Co<void> Containerizer::end_removal(ContainerPtr container) {
  container->removing = true;
  (co_await remove_storage(container)).ignore("again next time");
  container->removing = false;
  container->changed.notify();
}

Co<Result<void>> Containerizer::kill_all(ContainerId id) {
  // Somebody may have moved its first process out of its cgroups.
  if (const ContainerPtr container = find(id); container && container->process) {
    container->process->signal(SIGKILL).ignore("it may have ended");
  }
  const Duration limit = is_recovered_ ? Duration(kKillLimit) : Duration(kFirstLook);
  co_return co_await parts_.cgroups.kill_all(ContainerCgroups::name_of(id), limit);
}

// All that can be killed now; what is under way gives up at its next step.
Co<Result<void>> Containerizer::begin_destroy(ContainerPtr container) {
  container->kill_requested = true;
  switch (container->state()) {
    case ContainerState::running:
    case ContainerState::paused:
    case ContainerState::checkpointing:
      co_return co_await kill_all(container->id);
    case ContainerState::launching:
      if (container->process) container->process->signal(SIGKILL).ignore("it may be gone");
      break;
    default:
      break;
  }
  co_return Result<void>();
}

Co<Result<void>> Containerizer::destroy(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  Result<void> killed = co_await begin_destroy(container);
  if (!killed) co_return stuck(*container, killed.error().to_string());
  const auto start = std::chrono::steady_clock::now();
  // Another client may start it again as soon as it has ended.
  const uint32_t run = container->restarts;
  while (container->restarts == run && container->state() != ContainerState::exited &&
         container->state() != ContainerState::created &&
         container->state() != ContainerState::removed) {
    if (!container->stuck_on.empty()) co_return stuck(*container, container->stuck_on);
    const auto passed = std::chrono::steady_clock::now() - start;
    const bool has_process = container->process && !container->process->ended();
    if (passed >= (has_process ? kKillLimit : kDestroyLimit)) {
      const std::string why = has_process ? cat("pid ", container->process->pid(),
                                                describe_wait(container->process->pid()))
                                          : cat("it is ", to_string(container->state()));
      co_return stuck(*container, why);
    }
    co_await container->changed.wait(std::chrono::seconds(1));
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  co_return Result<void>();
}

Co<Result<void>> Containerizer::remove(ContainerId id, Force force) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  ContainerState state = container->state();
  bool ended = container->outcome.has_value() || state == ContainerState::created ||
               state == ContainerState::destroying;
  if (!ended && force == Force::no) {
    co_return Error(Errc::busy, cat("container '", id.to_string(), "' is ", to_string(state),
                                    "; stop it first (`gantry stop`), or remove it by force "
                                    "(`gantry rm -f`)"));
  }
  while (container->removing) {
    co_await container->changed.wait();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  if (container->state() == ContainerState::removed) co_return Result<void>();
  // ORDER: before it is ended: from here on nobody starts it again.
  container->removing = true;
  co_await end_file_work(container);
  Result<void> destroyed = co_await destroy(id);
  // With a launch that was given up it is gone.
  if (!destroyed || container->state() == ContainerState::removed) {
    container->removing = false;
    container->is_removal_due = !destroyed && destroyed.error().is(Errc::busy);
    container->changed.notify();
    co_return destroyed;
  }
  // ORDER: a record of a nested one without its parent's would be nobody's.
  Result<void> nested = co_await remove_nested(container);
  if (!nested) {
    container->removing = false;
    container->changed.notify();
    co_return nested;
  }
  Result<void> removed = co_await uncancellable(remove_storage(container));
  container->removing = false;
  container->changed.notify();
  co_return removed;
}
}  // namespace gantry
