#include <algorithm>

#include "isolators/cgroup_controllers.h"

namespace gantry {
namespace {
constexpr auto kDestroyLimit = std::chrono::seconds(5);
// Of all that an earlier executor left, together: containers wait for a recovery to end.
constexpr auto kOrphansLimit = std::chrono::seconds(2);

// Whether something inside could write to the container's own cgroups: then they are not given to
// the next container.
bool can_reach_cgroups(const ContainerSpec& spec) {
  constexpr uint64_t kSysAdmin = uint64_t{1} << 21;
  const bool is_powerful =
      ((spec.security.capabilities.bounding | spec.security.capabilities.permitted) & kSysAdmin) !=
      0;
  const bool has_host_files = std::ranges::any_of(
      spec.mounts, [](const MountSpec& m) { return m.type != MountSpec::Type::tmpfs; });
  return is_powerful || has_host_files || !spec.security.masked_paths ||
         std::holds_alternative<HostRoot>(spec.root) ||
         spec.namespaces.mount.kind != NamespaceChoice::Kind::private_ ||
         spec.namespaces.pid.kind != NamespaceChoice::Kind::private_;
}
}  // namespace

Co<Result<void>> CgroupsIsolator::recover(const std::vector<RecoveredContainer>& known) {
  std::set<std::string> names;
  for (const RecoveredContainer& container : known) {
    const std::string name = name_of(container.id);
    names.insert(name.substr(0, name.find('/')));
    cgroups_.adopt(name, container.isolator_record, container.spec->cgroup_parent);
  }
  const auto end = std::chrono::steady_clock::now() + kOrphansLimit;
  Result<void> all_gone;
  for (const std::string& name : GANTRY_CO_TRY(cgroups_.orphans(names))) {
    const Duration left = end - std::chrono::steady_clock::now();
    Result<void> gone =
        co_await cgroups_.destroy(name, std::max<Duration>(left, std::chrono::milliseconds(50)));
    if (gone) continue;
    cgroups_.destroy_later(name);
    all_gone = std::move(gone);
  }
  GANTRY_CO_TRY(cgroups_.remove_unused_parents());
  cgroups_.refill_pool();
  co_return all_gone;
}

Co<Result<void>> CgroupsIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  const std::string name = name_of(context.id);
  GANTRY_CO_TRY(context.prepared.empty() ? cgroups_.create(name, plan, context.spec.cgroup_parent)
                                         : cgroups_.take_over(context.prepared, name));
  if (!can_reach_cgroups(context.spec)) cgroups_.allow_recycling(name);
  co_return Result<void>();
}

Co<Result<void>> CgroupsIsolator::isolate(const LaunchContext& context, const ProcessRef& child) {
  (void)context, (void)child;
  // Otherwise after the end of a container: off the launch path.
  if (cgroups_.pool_is_low()) cgroups_.refill_pool();
  co_return Result<void>();
}

std::string CgroupsIsolator::record(const ContainerId& id) const {
  return cgroups_.record(name_of(id));
}

Co<Result<void>> CgroupsIsolator::cleanup(ContainerId id) {
  GANTRY_CO_TRY(co_await cgroups_.destroy(name_of(id), kDestroyLimit));
  cgroups_.refill_pool();
  co_return Result<void>();
}
}  // namespace gantry
