#include "isolators/cgroup_controllers.h"

namespace gantry {
Result<void> PidsIsolator::apply(const std::string& name, const ResourceSpec& resources) {
  if (!resources.pids_limit) return {};
  const int64_t limit = *resources.pids_limit;
  return cgroups_.write_checked(name, "pids", "pids.max", limit < 0 ? "max" : cat(limit))
      .context("pids_limit");
}

Co<Result<void>> PidsIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  co_return apply(name_of(context.id), context.spec.resources);
}

Co<Result<void>> PidsIsolator::update(ContainerId id, const ResourceSpec& resources) {
  co_return apply(name_of(id), resources);
}

Co<Result<void>> PidsIsolator::usage(ContainerId id, Usage& into) {
  const std::string name = name_of(id);
  if (!cgroups_.has("pids")) co_return Result<void>();
  into.pids_current = GANTRY_CO_TRY(cgroups_.read_number(name, "pids", "pids.current"));
  const uint64_t limit = GANTRY_CO_TRY(cgroups_.read_number(name, "pids", "pids.max"));
  if (limit != UINT64_MAX) into.pids_limit = limit;
  co_return Result<void>();
}
}  // namespace gantry
