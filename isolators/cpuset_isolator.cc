#include "base/sys.h"
#include "isolators/cgroup_controllers.h"

namespace gantry {
Result<std::set<uint32_t>> CpusetIsolator::parse_list(std::string_view text) {
  constexpr uint32_t kMost = 8192;
  std::set<uint32_t> out;
  const std::string_view trimmed = trim(text);
  if (trimmed.empty()) return out;
  for (std::string_view part : split(trimmed, ',')) {
    const size_t dash = part.find('-');
    uint32_t first = 0, last = 0;
    const bool good = dash == std::string_view::npos
                          ? parse_number(part, first) && parse_number(part, last)
                          : parse_number(part.substr(0, dash), first) &&
                                parse_number(part.substr(dash + 1), last);
    if (!good || first > last || last >= kMost) {
      return Error(Errc::invalid, cat("'", trimmed.substr(0, 64), "' is no list such as 0-1,3"));
    }
    for (uint32_t number = first; number <= last; ++number) out.insert(number);
  }
  return out;
}

Result<void> CpusetIsolator::apply(const std::string& name, const ResourceSpec& resources) {
  const struct {
    const std::optional<std::string>& value;
    const char* file;
    const char* field;
    const char* present;  // on this host
  } lists[] = {
      {resources.cpuset_mems, "cpuset.mems", "cpuset_mems", "/sys/devices/system/node/online"},
      {resources.cpuset_cpus, "cpuset.cpus", "cpuset_cpus", "/sys/devices/system/cpu/online"}};
  for (const auto& list : lists) {
    if (!list.value) continue;
    const auto wanted = GANTRY_TRY(parse_list(*list.value).context(list.field));
    if (wanted.empty()) return Error(Errc::invalid, cat(list.field, ": names none"));
    if (auto done = cgroups_.write(name, "cpuset", list.file, *list.value); !done) {
      const std::string present = sys::read_file(list.present).value_or("others");
      return std::move(done).error().context(list.field, ": this host has ", trim(present));
    }
    const std::string now = GANTRY_TRY(cgroups_.read(name, "cpuset", list.file));
    if (GANTRY_TRY(parse_list(now)) != wanted) {
      return Error(Errc::conflict,
                   cat(list.field, ": asked for ", *list.value, ", the kernel says ", trim(now)));
    }
    if (!cgroups_.is_v2("cpuset")) continue;
    // KERNEL: v2 accepts cpus that are not there, and uses what is.
    const std::string effective =
        GANTRY_TRY(cgroups_.read(name, "cpuset", cat(list.file, ".effective")));
    if (GANTRY_TRY(parse_list(effective)) != wanted) {
      return Error(Errc::conflict, cat(list.field, ": asked for ", *list.value,
                                       ", of which there is ", trim(effective)));
    }
  }
  return {};
}

Co<Result<void>> CpusetIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  co_return apply(name_of(context.id), context.spec.resources);
}

Co<Result<void>> CpusetIsolator::update(ContainerId id, const ResourceSpec& resources) {
  co_return apply(name_of(id), resources);
}
}  // namespace gantry
