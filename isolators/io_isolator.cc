#include "isolators/cgroup_controllers.h"

namespace gantry {
namespace {
// "8:0 Read 4096" (v1) or "8:0 rbytes=4096 wbytes=0 …" (v2), summed over the devices.
void sum_v1(std::string_view text, uint64_t& read, uint64_t& written) {
  for (std::string_view line : split(text, '\n')) {
    const auto fields = split(line, ' ');
    uint64_t bytes = 0;
    if (fields.size() != 3 || !parse_number(fields[2], bytes)) continue;
    if (fields[1] == "Read") read += bytes;
    if (fields[1] == "Write") written += bytes;
  }
}

void sum_v2(std::string_view text, uint64_t& read, uint64_t& written) {
  for (std::string_view line : split(text, '\n')) {
    for (std::string_view field : split(line, ' ')) {
      uint64_t bytes = 0;
      if (field.starts_with("rbytes=") && parse_number(field.substr(7), bytes)) read += bytes;
      if (field.starts_with("wbytes=") && parse_number(field.substr(7), bytes)) written += bytes;
    }
  }
}

bool has_throttles(const ResourceSpec& r) {
  return !r.read_bps.empty() || !r.write_bps.empty() || !r.read_iops.empty() ||
         !r.write_iops.empty();
}
}  // namespace

Result<void> IoIsolator::apply_weight(const std::string& name, uint16_t weight) {
  // The scheduler decides which file there is; none of them means none can be weighted.
  if (cgroups_.has("io")) {
    const uint64_t v2 = 1 + (weight - 10u) * 9999u / 990u;
    auto done = cgroups_.write(name, "io", "io.bfq.weight", cat(weight));
    if (!done && done.error().is_errno(ENOENT)) {
      done = cgroups_.write(name, "io", "io.weight", cat("default ", v2));
    }
    return done;
  }
  auto done = cgroups_.write_checked(name, "blkio", "blkio.bfq.weight", cat(weight));
  if (!done && done.error().is_errno(ENOENT)) {
    done = cgroups_.write_checked(name, "blkio", "blkio.weight", cat(weight));
  }
  if (!done && done.error().is_errno(ENOENT)) {
    return Error(Errc::unsupported, "this kernel has no weighted I/O scheduler (bfq)");
  }
  return done;
}

Result<void> IoIsolator::apply_throttles(const std::string& name, const ResourceSpec& resources) {
  const struct {
    const std::vector<ThrottleDevice>& list;
    const char* v1_file;
    const char* v2_key;
  } kinds[] = {{resources.read_bps, "blkio.throttle.read_bps_device", "rbps"},
               {resources.write_bps, "blkio.throttle.write_bps_device", "wbps"},
               {resources.read_iops, "blkio.throttle.read_iops_device", "riops"},
               {resources.write_iops, "blkio.throttle.write_iops_device", "wiops"}};
  for (const auto& kind : kinds) {
    for (const ThrottleDevice& device : kind.list) {
      const std::string number = cat(device.major, ":", device.minor);
      const bool is_v2 = cgroups_.has("io");
      const std::string_view controller = is_v2 ? "io" : "blkio";
      const std::string_view file = is_v2 ? "io.max" : kind.v1_file;
      const std::string value =
          is_v2 ? cat(number, " ", kind.v2_key, "=", device.rate) : cat(number, " ", device.rate);
      GANTRY_TRY(cgroups_.write(name, controller, file, value)
                     .context("throttle of device ", number, " (is there one?)"));
      const std::string now = GANTRY_TRY(cgroups_.read(name, controller, file));
      const std::string expected = is_v2 ? cat(kind.v2_key, "=", device.rate) : value;
      bool is_there = device.rate == 0;  // 0 removes it
      for (std::string_view line : split(now, '\n')) {
        is_there = is_there || (line.starts_with(number + " ") &&
                                (is_v2 ? line.find(expected) != line.npos : line == expected));
      }
      if (!is_there) {
        return Error(Errc::conflict, cat("throttle of device ", number, ": ", file, " reads '",
                                         trim(now).substr(0, 128), "'"));
      }
    }
  }
  return {};
}

Result<void> IoIsolator::apply(const std::string& name, const ResourceSpec& resources) {
  if (resources.blkio_weight) {
    GANTRY_TRY(apply_weight(name, *resources.blkio_weight).context("blkio_weight"));
  }
  return has_throttles(resources) ? apply_throttles(name, resources) : Result<void>();
}

Co<Result<void>> IoIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  co_return apply(name_of(context.id), context.spec.resources);
}

Co<Result<void>> IoIsolator::update(ContainerId id, const ResourceSpec& resources) {
  co_return apply(name_of(id), resources);
}

Co<Result<void>> IoIsolator::usage(ContainerId id, Usage& into) {
  const std::string name = name_of(id);
  uint64_t read = 0, written = 0;
  if (cgroups_.has("io")) {
    sum_v2(GANTRY_CO_TRY(cgroups_.read(name, "io", "io.stat")), read, written);
  } else if (cgroups_.has("blkio")) {
    auto text = cgroups_.read(name, "blkio", "blkio.throttle.io_service_bytes_recursive");
    if (!text && text.error().is_errno(ENOENT)) {  // kernels without CONFIG_BLK_DEV_THROTTLING
      text = cgroups_.read(name, "blkio", "blkio.bfq.io_service_bytes_recursive");
    }
    sum_v1(GANTRY_CO_TRY(std::move(text)), read, written);
  } else {
    co_return Result<void>();
  }
  into.io_read = read;
  into.io_written = written;
  co_return Result<void>();
}
}  // namespace gantry
