// Changes to containers that are there: other limits, another name, another run.
#include <algorithm>

#include "containerizer/containerizer.h"
#include "containerizer/refusals.h"
#include "containerizer/registrations.h"

namespace gantry {
namespace {
// A stop is answered before what is left of the run is gone.
constexpr auto kEndingLimit = std::chrono::seconds(10);

bool are_same(const std::vector<ThrottleDevice>& a, const std::vector<ThrottleDevice>& b) {
  return std::ranges::equal(a, b, [](const ThrottleDevice& x, const ThrottleDevice& y) {
    return x.major == y.major && x.minor == y.minor && x.rate == y.rate;
  });
}

// Of what can be changed: device rules cannot.
bool are_same(const ResourceSpec& a, const ResourceSpec& b) {
  return a.cpu_shares == b.cpu_shares && a.cpu_quota == b.cpu_quota &&
         a.cpu_period == b.cpu_period && a.cpuset_cpus == b.cpuset_cpus &&
         a.cpuset_mems == b.cpuset_mems && a.memory_limit == b.memory_limit &&
         a.memory_reservation == b.memory_reservation && a.memory_swap == b.memory_swap &&
         a.pids_limit == b.pids_limit && a.blkio_weight == b.blkio_weight &&
         are_same(a.read_bps, b.read_bps) && are_same(a.write_bps, b.write_bps) &&
         are_same(a.read_iops, b.read_iops) && are_same(a.write_iops, b.write_iops);
}

// On its way to Running or Exited.
bool is_changing(ContainerState state) {
  return state == ContainerState::destroying || state == ContainerState::creating ||
         state == ContainerState::provisioning || state == ContainerState::preparing ||
         state == ContainerState::launching;
}

// A restart that was cut short is as if it had not been.
bool has_started_since(const Container& container, int64_t end_ns) {
  if (!container.outcome) return container.state() != ContainerState::created;
  return container.exited_ns != end_ns && container.outcome->kind != ExitOutcome::Kind::failed;
}
}  // namespace

Result<void> Containerizer::require_unwritten(const Container& container) {
  if (!container.is_written) return {};
  return Error(Errc::busy, cat("files are being copied into container '", container.id.to_string(),
                               "': ask again when that has ended"));
}

Co<Result<void>> Containerizer::start(ContainerId id, std::optional<int64_t> after_end_ns) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  const auto deadline = std::chrono::steady_clock::now() + kEndingLimit;
  while (is_changing(container->state())) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  if (after_end_ns && has_started_since(*container, *after_end_ns)) co_return Result<void>();
  GANTRY_CO_TRY(require_startable(*container));
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
  GANTRY_CO_TRY(require_kept(*container));
  if (container->parent || (!runs && !is_at_rest)) {
    co_return Error(Errc::busy,
                    cat("container '", id.to_string(), "' is ", to_string(state),
                        ", only a running, paused, created or exited one can be changed"));
  }
  const bool is_renamed = wanted.name != container->spec->name;
  if (is_renamed && names_.contains(wanted.name)) {
    co_return Error(Errc::conflict, cat("name: '", wanted.name, "' is taken by another container"));
  }
  if (is_renamed) GANTRY_CO_TRY(require_no_id(list(), wanted.name, id));
  const bool is_limited_anew = runs && !are_same(wanted.resources, container->spec->resources);
  const std::shared_ptr<const ContainerSpec> former = container->spec;
  const std::string name = wanted.name;
  const auto take_back_name = [&] {
    if (!is_renamed) return;
    names_.erase(name);
    if (!former->name.empty()) names_.emplace(former->name, container->id);
  };
  if (is_renamed) rename(*container, name);
  Result<void> applied;
  if (is_limited_anew) applied = co_await apply_limits(container, wanted.resources);
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
  Result<void> kept = write_record(*container);
  if (kept && was_registered && !container->is_registered()) {
    kept = co_await offload([data_dir = config_.data_dir, directory = container->directory_name()] {
      return remove_registration(data_dir, directory);
    });
  } else if (kept) {
    kept = co_await update_registration(*container, record_of(*container));
  }
  if (!kept) {
    // The next executor would not know of it, or not after a reboot.
    container->spec = former;
    take_back_name();
    write_record(*container).ignore("it could not be written before, either");
    if (is_limited_anew) {
      (co_await apply_limits(container, former->resources)).ignore("it is ending");
    }
    co_return kept;
  }
  container->changed.notify();
  if (is_renamed) {
    tell(*container, "rename", {{"old_name", former->name}});
  } else {
    tell(*container, "update");
  }
  co_return Result<void>();
}
}  // namespace gantry
