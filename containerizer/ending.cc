// The end of a container: from the exit of its first process to Exited, and its removal.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include "base/failpoint.h"
#include "base/path_at.h"
#include "base/sys.h"
#include "containerizer/containerizer.h"
#include "containerizer/registrations.h"
#include "containerizer/sandbox.h"

namespace gantry {
namespace {
constexpr auto kKillLimit = std::chrono::seconds(10);
// What a lack of descriptors or memory has kept an isolator from.
constexpr int kCleanups = 3;
constexpr auto kBetweenCleanups = std::chrono::milliseconds(100);

Co<Result<void>> clean(Isolator& isolator, const ContainerId& id) {
  for (int tries = 1;; ++tries) {
    Result<void> cleaned = co_await isolator.cleanup(id);
    if (cleaned || tries == kCleanups || cleaned.error().is(Errc::busy)) co_return cleaned;
    co_await sleep_for(kBetweenCleanups);
  }
}
}  // namespace

Co<void> Containerizer::finish(ContainerPtr container, ExitOutcome outcome) {
  GANTRY_FAILPOINT("destroy.before_kill");
  if (container->state() == ContainerState::exited) co_return;
  container->transition(ContainerState::destroying);
  if (container->exited_ns == 0) container->exited_ns = sys::realtime_ns();
  container->ended_at = std::chrono::steady_clock::now();
  if (outcome.kind == ExitOutcome::Kind::failed && container->process) {
    // The child of a failed launch ends by itself; be sure, and let the launcher record it.
    container->process->signal(SIGKILL).ignore("it may be gone");
    (co_await parts_.backend.wait_exit(container->id.hash())).ignore("its status means nothing");
  }
  if (container->process) {
    // ORDER: all output is in the files before a waiter hears of the end.
    (co_await parts_.logs.flush(container->id.hash())).ignore("a dead logger is restarted");
  }
  GANTRY_FAILPOINT("destroy.after_flush");
  container->outcome = std::move(outcome);
  container->changed.notify();
  co_await clean_kernel_objects(container);
  GANTRY_FAILPOINT("destroy.before_record");
  container->restore_state(ContainerState::exited);
  write_record(*container).ignore("the launcher's table still tells the exit");
  std::string record = record_of(*container);
  // ORDER: before anything is awaited: an Exited one can be removed.
  container->restore_state(ContainerState::destroying);
  // A launch that failed is forgotten, unless it ran before.
  if (container->outcome->kind != ExitOutcome::Kind::failed || container->ran_before) {
    (co_await update_registration(*container, std::move(record)))
        .ignore("after a reboot its end would be unknown");
  }
  GANTRY_FAILPOINT("destroy.after_record");
  (co_await parts_.backend.forget(container->id.hash())).ignore("forgotten at the next recovery");
  GANTRY_FAILPOINT("destroy.after_forget");
  container->transition(ContainerState::exited);
}

Co<void> Containerizer::clean_kernel_objects(ContainerPtr container) {
  co_await container->scope.close();
  (co_await kill_all(container->id)).ignore("retried by cleanup");
  GANTRY_FAILPOINT("destroy.after_kill");
  co_await wait_nested_ended(container);
  const std::vector<Isolator*>& isolators = isolators_of(*container);
  for (size_t i = isolators.size(); i-- > 0;) {
    Isolator* isolator = isolators[i];
    Result<void> cleaned = co_await clean(*isolator, container->id);
    if (!cleaned) {
      container->cleanup_errors.push_back(cat(isolator->name(), ": ", cleaned.error().to_string()));
    }
    GANTRY_FAILPOINT("destroy.after_isolator_cleanup");
  }
  container->process.reset();
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
  GANTRY_CO_TRY(co_await remove_sandbox(parts_.worker, sandbox_of(*container)));
  GANTRY_FAILPOINT_CO_TRY("remove.after_sandbox");
  // ORDER: the record last: as long as it is there a new executor knows what may be left.
  DirFd containers = GANTRY_CO_TRY(DirFd::open(cat(config_.runtime_dir, "/containers")));
  GANTRY_CO_TRY(remove_tree_at(containers.get(), container->directory_name()));
  if (!container->spec->name.empty()) names_.erase(container->spec->name);
  containers_.erase(container->id);
  if (container->parent) container->parent->nested.erase(container->id);
  if (container->state() != ContainerState::removed) {
    container->transition(ContainerState::removed);
  }
  co_return Result<void>();
}

Co<Result<void>> Containerizer::kill_all(ContainerId id) {
  // Somebody may have moved its first process out of its cgroups.
  if (const ContainerPtr container = find(id); container && container->process) {
    container->process->signal(SIGKILL).ignore("it may have ended");
  }
  co_return co_await parts_.cgroups.kill_all(ContainerCgroups::name_of(id), kKillLimit);
}

Co<Result<void>> Containerizer::destroy(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  container->kill_requested = true;
  if (container->state() == ContainerState::running ||
      container->state() == ContainerState::paused ||
      container->state() == ContainerState::checkpointing) {
    GANTRY_CO_TRY(co_await kill_all(id));
  }
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (container->state() != ContainerState::exited &&
         container->state() != ContainerState::created &&
         container->state() != ContainerState::removed) {
    auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) {
      co_return Error(Errc::timed_out,
                      cat("container '", id.to_string(),
                          "' does not end; its processes may be stuck in the kernel"));
    }
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  co_return Result<void>();
}

Co<Result<void>> Containerizer::remove(ContainerId id, Force force) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  ContainerState state = container->state();
  bool ended = container->outcome.has_value() || state == ContainerState::created;
  if (!ended && force == Force::no) {
    co_return Error(Errc::busy, cat("container '", id.to_string(), "' is ", to_string(state),
                                    "; stop it first (`gantry stop`), or remove it by force "
                                    "(`gantry rm -f`)"));
  }
  GANTRY_CO_TRY(co_await destroy(id));
  while (container->removing) {
    co_await container->changed.wait();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  if (container->state() == ContainerState::removed) co_return Result<void>();
  container->removing = true;
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
