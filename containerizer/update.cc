// Changes to containers that are there: other limits, another name, another run.
#include "containerizer/containerizer.h"
#include "containerizer/registrations.h"

namespace gantry {
namespace {
// A stop is answered before what is left of the run is gone.
constexpr auto kEndingLimit = std::chrono::seconds(10);
}  // namespace

Result<void> Containerizer::require_unwritten(const Container& container) {
  if (!container.is_written) return {};
  return Error(Errc::busy, cat("files are being copied into container '", container.id.to_string(),
                               "': ask again when that has ended"));
}

Co<Result<void>> Containerizer::start(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  const auto deadline = std::chrono::steady_clock::now() + kEndingLimit;
  while (container->state() == ContainerState::destroying) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  const bool is_at_rest =
      container->state() == ContainerState::exited || container->state() == ContainerState::created;
  if (container->parent || container->removing || !is_at_rest) {
    co_return Error(Errc::busy,
                    cat("container '", id.to_string(), "' is ", to_string(container->state()),
                        ", only a created or an exited one can be started"));
  }
  GANTRY_CO_TRY(require_unwritten(*container));
  GANTRY_CO_TRY(require_room(container->id));
  container->was_stopped = false;
  container->short_runs = 0;
  co_return co_await uncancellable(run_again(container));
}

// ORDER: what may be refused first: those before are given back their limits then.
Co<Result<void>> Containerizer::apply_limits(ContainerPtr container, ResourceSpec wanted) {
  const ResourceSpec before = container->spec->resources;
  std::vector<Isolator*> done;
  for (const std::string_view name : {"memory", "cpuset", "pids", "cpu", "io"}) {
    for (Isolator* isolator : parts_.isolators) {
      if (isolator->name() != name) continue;
      Result<void> applied = co_await isolator->update(container->id, wanted);
      if (applied) {
        done.push_back(isolator);
        continue;
      }
      for (Isolator* other : done) {
        (co_await other->update(container->id, before)).ignore("the first failure is told");
      }
      co_return applied;
    }
  }
  co_return Result<void>();
}

void Containerizer::rename(Container& container, const std::string& name) {
  if (!container.spec->name.empty()) names_.erase(container.spec->name);
  names_.emplace(name, container.id);
}

Co<Result<void>> Containerizer::update(ContainerId id, ContainerSpec wanted) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  const ContainerState state = container->state();
  const bool runs = state == ContainerState::running || state == ContainerState::paused;
  const bool is_at_rest = state == ContainerState::exited || state == ContainerState::created;
  if (container->parent || (!runs && !is_at_rest) || container->removing) {
    co_return Error(Errc::busy,
                    cat("container '", id.to_string(), "' is ", to_string(state),
                        ", only a running, paused, created or exited one can be changed"));
  }
  const bool is_renamed = wanted.name != container->spec->name;
  if (is_renamed && names_.contains(wanted.name)) {
    co_return Error(Errc::conflict, cat("name: '", wanted.name, "' is taken by another container"));
  }
  const std::shared_ptr<const ContainerSpec> former = container->spec;
  const std::string name = wanted.name;
  const auto take_back_name = [&] {
    if (!is_renamed) return;
    names_.erase(name);
    if (!former->name.empty()) names_.emplace(former->name, container->id);
  };
  if (is_renamed) rename(*container, name);
  Result<void> applied;
  if (runs) applied = co_await apply_limits(container, wanted.resources);
  if (!applied) {
    take_back_name();
    co_return applied;
  }
  const bool was_registered = container->is_registered();
  // Its process, mounts and rights are those of the launch, with what the image said.
  auto changed = std::make_shared<ContainerSpec>(*container->spec);
  changed->name = std::move(wanted.name);
  changed->resources = std::move(wanted.resources);
  changed->restart = wanted.restart;
  changed->request_bytes = std::move(wanted.request_bytes);
  container->spec = std::move(changed);
  if (Result<void> recorded = write_record(*container); !recorded) {
    // The next executor would not know of it.
    container->spec = former;
    take_back_name();
    if (runs) (co_await apply_limits(container, former->resources)).ignore("it is ending");
    co_return recorded;
  }
  container->changed.notify();
  if (is_renamed) {
    tell(*container, "rename", {{"old_name", former->name}});
  } else {
    tell(*container, "update");
  }
  if (was_registered && !container->is_registered()) {
    co_return co_await offload(
        [data_dir = config_.data_dir, directory = container->directory_name()] {
          return remove_registration(data_dir, directory);
        });
  }
  co_return co_await update_registration(*container, record_of(*container));
}
}  // namespace gantry
