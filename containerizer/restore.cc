// A container's processes written to disk and made again: the states and records around what
// checkpoint/ does.
#include "base/failpoint.h"
#include "containerizer/launch.h"

namespace gantry {
namespace {
constexpr auto kEndLimit = std::chrono::seconds(10);

// While it lives no health check begins, and one that ends says nothing.
class ChecksHeld {
 public:
  explicit ChecksHeld(ContainerPtr container) : container_(std::move(container)) {
    ++container_->checks_held;
  }
  ChecksHeld(const ChecksHeld&) = delete;
  ChecksHeld& operator=(const ChecksHeld&) = delete;
  ~ChecksHeld() {
    if (--container_->checks_held == 0) container_->changed.notify();
  }

 private:
  ContainerPtr container_;
};
}  // namespace

Co<Result<void>> Containerizer::checkpoint(ContainerId id, DumpFunction dump, AfterDump after) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  const ChecksHeld held(container);
  co_await end_check(container);
  ContainerState before = container->state();
  if (before != ContainerState::running && before != ContainerState::paused) {
    co_return Error(Errc::busy, cat("container '", id.to_string(), "' is ", to_string(before),
                                    ", only a running or paused one can be checkpointed"));
  }
  // CRIU would leave them out without a word.
  if (const size_t count = live_nested(*container); count > 0) {
    co_return Error(Errc::busy,
                    cat(count, count == 1 ? " command runs" : " commands run", " in container '",
                        id.to_string(), "' (`gantry exec`); end them first"));
  }
  const bool was_stopped =
      std::exchange(container->was_stopped, container->was_stopped || after == AfterDump::ends);
  container->transition(ContainerState::checkpointing);
  Result<void> dumped = co_await uncancellable(dump(container, before == ContainerState::paused));
  if (container->state() == ContainerState::checkpointing && !container->process->ended()) {
    container->was_stopped = was_stopped;
    container->transition(before);
    if (dumped) tell(*container, "checkpoint");
    co_return dumped;
  }
  // It ended: who is answered may restore it.
  while (container->state() == ContainerState::checkpointing ||
         container->state() == ContainerState::destroying) {
    if (!co_await container->changed.wait(kEndLimit)) break;
  }
  if (dumped) tell(*container, "checkpoint");
  co_return dumped;
}

Co<Result<void>> Containerizer::restore(ContainerId id, RestoreFunction restore) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  if (container->state() != ContainerState::exited || container->removing) {
    co_return Error(Errc::busy,
                    cat("container '", id.to_string(), "' is ", to_string(container->state()),
                        ", only an exited one can be restored"));
  }
  GANTRY_CO_TRY(require_unwritten(*container));
  co_return co_await uncancellable(run_restore(container, std::move(restore)));
}

Co<Result<void>> Containerizer::run_restore(ContainerPtr container, RestoreFunction restore) {
  co_await forget_undrained(container);
  container->former_outcome = std::exchange(container->outcome, std::nullopt);
  container->former_exited_ns = std::exchange(container->exited_ns, 0);
  container->limitation.reset();
  container->kill_requested = false;
  const bool was_stopped = std::exchange(container->was_stopped, false);
  forget_health(*container);
  container->scope.reopen();
  container->transition(ContainerState::creating);
  Launch launch(*this, container);
  Result<void> result = co_await launch.restore(std::move(restore));
  if (result) {
    tell(*container, "restore");
    start_watching(container);
    co_return result;
  }
  container->was_stopped = was_stopped;
  scope_.spawn(undo_restore(container));
  const auto deadline = std::chrono::steady_clock::now() + kEndLimit;
  while (container->state() != ContainerState::exited &&
         std::chrono::steady_clock::now() < deadline) {
    co_await container->changed.wait(deadline - std::chrono::steady_clock::now());
  }
  co_return result;
}

// Nothing of it may stay, and it is again as its former run had ended.
Co<void> Containerizer::undo_restore(ContainerPtr container) {
  co_await uncancellable([](Containerizer* self, ContainerPtr c) -> Co<bool> {
    (co_await self->kill_all(c->id)).ignore("finish asks again");
    if (!co_await self->await_end(c->id.hash())) co_return false;
    c->exited_ns = c->former_exited_ns;
    ExitOutcome outcome = c->former_outcome.value_or(
        ExitOutcome{ExitOutcome::Kind::lost, 0, false, "nobody saw how it ended"});
    c->former_outcome.reset();
    co_return co_await self->finish(c, std::move(outcome));
  }(this, std::move(container)));
}
}  // namespace gantry
