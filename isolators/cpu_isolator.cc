#include <algorithm>
#include <cmath>

#include "isolators/cgroup_controllers.h"

namespace gantry {
namespace {
using std::chrono::microseconds;
constexpr microseconds kDefaultPeriod{100000};
}  // namespace

uint64_t CpuIsolator::weight_of_shares(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double l = std::log2(static_cast<double>(shares));
  // runc 1.3.2's: 10^((l^2 + 125 l) / 612 - 7/34): through (2,1), (1024,100) and (262144,10000).
  return static_cast<uint64_t>(std::ceil(std::pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0)));
}

Result<void> CpuIsolator::apply_quota(const std::string& name, const ResourceSpec& resources) {
  const microseconds period = resources.cpu_period.value_or(kDefaultPeriod);
  const bool is_limited = resources.cpu_quota && resources.cpu_quota->count() > 0;
  if (cgroups_.is_v2("cpu")) {
    return cgroups_.write_checked(
        name, "cpu", "cpu.max",
        cat(is_limited ? cat(resources.cpu_quota->count()) : "max", " ", period.count()));
  }
  const std::string quota = is_limited ? cat(resources.cpu_quota->count()) : "-1";
  // KERNEL: each write is checked against the other value as it is then; one order always works.
  auto done = cgroups_.write_checked(name, "cpu", "cpu.cfs_period_us", cat(period.count()));
  if (!done) {
    GANTRY_TRY(cgroups_.write_checked(name, "cpu", "cpu.cfs_quota_us", quota));
    return cgroups_.write_checked(name, "cpu", "cpu.cfs_period_us", cat(period.count()));
  }
  return cgroups_.write_checked(name, "cpu", "cpu.cfs_quota_us", quota);
}

Result<void> CpuIsolator::apply(const std::string& name, const ResourceSpec& resources) {
  if (resources.cpu_shares) {
    if (cgroups_.is_v2("cpu")) {
      GANTRY_TRY(cgroups_
                     .write_checked(name, "cpu", "cpu.weight",
                                    cat(weight_of_shares(*resources.cpu_shares)))
                     .context("cpu_shares"));
    } else {
      GANTRY_TRY(cgroups_.write_checked(name, "cpu", "cpu.shares", cat(*resources.cpu_shares))
                     .context("cpu_shares"));
    }
  }
  if (resources.cpu_quota || resources.cpu_period) {
    GANTRY_TRY(apply_quota(name, resources).context("cpu_quota and cpu_period"));
  }
  return {};
}

Co<Result<void>> CpuIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  co_return apply(name_of(context.id), context.spec.resources);
}

Co<Result<void>> CpuIsolator::update(ContainerId id, const ResourceSpec& resources) {
  co_return apply(name_of(id), resources);
}

Co<Result<void>> CpuIsolator::usage(ContainerId id, Usage& into) {
  const std::string name = name_of(id);
  if (cgroups_.has("cpuacct")) {
    // KERNEL: cpuacct.usage is exact. cpuacct.usage_user and _sys count ticks, which a quota makes
    // a tenth too many: it is at a tick that a group is throttled. cpuacct.stat tells how to split.
    const uint64_t used =
        GANTRY_CO_TRY(cgroups_.read_number(name, "cpuacct", "cpuacct.usage")) / 1000;
    auto ticks = parse_flat_keyed(GANTRY_CO_TRY(cgroups_.read(name, "cpuacct", "cpuacct.stat")));
    const double system = static_cast<double>(ticks["system"]);
    const double all = std::max(system + static_cast<double>(ticks["user"]), 1.0);
    into.cpu_system_us = static_cast<uint64_t>(static_cast<double>(used) * (system / all));
    into.cpu_user_us = used - *into.cpu_system_us;
  }
  if (!cgroups_.has("cpu")) co_return Result<void>();
  const auto stat = parse_flat_keyed(GANTRY_CO_TRY(cgroups_.read(name, "cpu", "cpu.stat")));
  const auto value = [&](const char* key, uint64_t divisor) -> std::optional<uint64_t> {
    const auto found = stat.find(key);
    if (found == stat.end()) return std::nullopt;
    return found->second / divisor;
  };
  into.cpu_periods = value("nr_periods", 1);
  into.cpu_throttled_periods = value("nr_throttled", 1);
  double quota = 0, period = 0;
  if (cgroups_.is_v2("cpu")) {
    into.cpu_user_us = value("user_usec", 1);
    into.cpu_system_us = value("system_usec", 1);
    into.cpu_throttled_us = value("throttled_usec", 1);
    const std::string max = GANTRY_CO_TRY(cgroups_.read(name, "cpu", "cpu.max"));
    const auto parts = split(trim(max), ' ');
    uint64_t q = 0, p = 0;
    if (parts.size() == 2 && parse_number(parts[0], q) && parse_number(parts[1], p)) {
      quota = static_cast<double>(q), period = static_cast<double>(p);
    }
  } else {
    into.cpu_throttled_us = value("throttled_time", 1000);
    const uint64_t q = GANTRY_CO_TRY(cgroups_.read_number(name, "cpu", "cpu.cfs_quota_us"));
    if (q != UINT64_MAX) {
      quota = static_cast<double>(q);
      period = static_cast<double>(
          GANTRY_CO_TRY(cgroups_.read_number(name, "cpu", "cpu.cfs_period_us")));
    }
  }
  if (quota > 0 && period > 0) into.cpus_limit = quota / period;
  co_return Result<void>();
}
}  // namespace gantry
