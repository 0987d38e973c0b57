// GantrySpec.Resources into ResourceSpec.
#include <cmath>

#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
constexpr std::chrono::microseconds kPeriod{100'000};

Result<void> cpu(const Field& field, const GantrySpec::Resources& in, ResourceSpec& out) {
  if (in.has_cpus()) {
    if (in.has_cpu_quota_us()) return invalid(field / "cpus", "excludes cpu_quota_us");
    if (!(in.cpus() >= 0.01) || in.cpus() > kMaxCpus) {
      return invalid(field / "cpus", cat("must be 0.01 to ", kMaxCpus));
    }
    out.cpu_period = kPeriod;
    out.cpu_quota =
        std::chrono::microseconds(std::llround(in.cpus() * static_cast<double>(kPeriod.count())));
  }
  if (in.has_cpu_shares()) {
    if (in.cpu_shares() < 2 || in.cpu_shares() > 262'144) {
      return invalid(field / "cpu_shares", "must be 2 to 262144");
    }
    out.cpu_shares = in.cpu_shares();
  }
  if (in.has_cpu_period_us()) {
    if (in.cpu_period_us() < 1000 || in.cpu_period_us() > 1'000'000) {
      return invalid(field / "cpu_period_us", "must be 1000 to 1000000");
    }
    if (in.has_cpus()) return invalid(field / "cpu_period_us", "excludes cpus");
    out.cpu_period = std::chrono::microseconds(in.cpu_period_us());
  }
  if (in.has_cpu_quota_us()) {
    if (in.cpu_quota_us() < 1000 || in.cpu_quota_us() > int64_t{1'000'000} * 8192) {
      return invalid(field / "cpu_quota_us", "must be 1000 to 8192000000");
    }
    out.cpu_quota = std::chrono::microseconds(in.cpu_quota_us());
    if (!out.cpu_period) out.cpu_period = kPeriod;
  }
  if (in.has_cpuset_cpus()) {
    GANTRY_TRY(check_cpu_list(field / "cpuset_cpus", in.cpuset_cpus()));
    out.cpuset_cpus = in.cpuset_cpus();
  }
  if (in.has_cpuset_mems()) {
    GANTRY_TRY(check_cpu_list(field / "cpuset_mems", in.cpuset_mems()));
    out.cpuset_mems = in.cpuset_mems();
  }
  return {};
}

Result<void> memory(const Field& field, const GantrySpec::Resources& in, ResourceSpec& out) {
  const std::string range = cat("must be ", kMinMemory, " (6 MiB) to ", kMaxBytes, " bytes");
  if (in.has_memory_limit_bytes()) {
    if (in.memory_limit_bytes() < kMinMemory || in.memory_limit_bytes() > kMaxBytes) {
      return invalid(field / "memory_limit_bytes", range);
    }
    out.memory_limit = in.memory_limit_bytes();
  }
  if (in.has_memory_reservation_bytes()) {
    if (in.memory_reservation_bytes() > kMaxBytes) {
      return invalid(field / "memory_reservation_bytes", range);
    }
    if (out.memory_limit && in.memory_reservation_bytes() > *out.memory_limit) {
      return invalid(field / "memory_reservation_bytes", "must not be above memory_limit_bytes");
    }
    out.memory_reservation = in.memory_reservation_bytes();
  }
  if (in.has_memory_swap_bytes()) {
    const int64_t swap = in.memory_swap_bytes();
    if (swap != -1) {
      if (!out.memory_limit) {
        return invalid(field / "memory_swap_bytes", "needs memory_limit_bytes");
      }
      if (swap < 0 || static_cast<Bytes>(swap) < *out.memory_limit ||
          static_cast<Bytes>(swap) > kMaxBytes) {
        return invalid(field / "memory_swap_bytes",
                       "counts memory and swap: -1 (unlimited), or at least memory_limit_bytes");
      }
    }
    out.memory_swap = swap;
  }
  return {};
}

Result<void> throttles(const Field& field, const auto& in, std::vector<ThrottleDevice>& out) {
  GANTRY_TRY(check_count(field, in.size()));
  for (int i = 0; i < in.size(); ++i) {
    const auto& throttle = in.Get(i);
    if (throttle.rate() == 0 || throttle.rate() > kMaxBytes) {
      return invalid(field[i] / "rate", "must be above 0");
    }
    GANTRY_TRY(check_device_number(field[i], throttle.major_number(), throttle.minor_number()));
    out.push_back({throttle.major_number(), throttle.minor_number(), throttle.rate()});
  }
  return {};
}
}  // namespace

Result<void> check_range(const Field& field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return {};
  return invalid(field, cat("must be ", least, " to ", most));
}

// KERNEL: dev_t has 12 and 20 bits (include/linux/kdev_t.h).
Result<void> check_device_number(const Field& field, uint32_t major_number, uint32_t minor_number) {
  if (major_number > 4095) return invalid(field / "major_number", "must be at most 4095");
  if (minor_number > 1048575) return invalid(field / "minor_number", "must be at most 1048575");
  return {};
}

Result<void> add_resources(const Field& field, const GantrySpec::Resources& in, ResourceSpec& out) {
  GANTRY_TRY(cpu(field, in, out));
  GANTRY_TRY(memory(field, in, out));
  if (in.has_pids_limit()) {
    if (in.pids_limit() != -1 && (in.pids_limit() < 1 || in.pids_limit() > 4'194'304)) {
      return invalid(field / "pids_limit", "must be 1 to 4194304, or -1 (unlimited)");
    }
    out.pids_limit = in.pids_limit();
  }
  if (in.has_blkio_weight()) {
    GANTRY_TRY(check_range(field / "blkio_weight", in.blkio_weight(), 10, 1000));
    out.blkio_weight = static_cast<uint16_t>(in.blkio_weight());
  }
  GANTRY_TRY(throttles(field / "read_bps", in.read_bps(), out.read_bps));
  GANTRY_TRY(throttles(field / "write_bps", in.write_bps(), out.write_bps));
  GANTRY_TRY(throttles(field / "read_iops", in.read_iops(), out.read_iops));
  GANTRY_TRY(throttles(field / "write_iops", in.write_iops(), out.write_iops));
  const Field rules = field / "device_rules";
  GANTRY_TRY(check_count(rules, in.device_rules_size()));
  for (int i = 0; i < in.device_rules_size(); ++i) {
    const auto& rule = in.device_rules(i);
    const Field here = rules[i];
    if (rule.type() != "a" && rule.type() != "b" && rule.type() != "c") {
      return invalid(here / "type", "must be a, b or c");
    }
    if (rule.access().empty() || rule.access().size() > 3 ||
        rule.access().find_first_not_of("rwm") != std::string::npos) {
      return invalid(here / "access", "must be of the letters r, w and m");
    }
    GANTRY_TRY(check_device_number(here, rule.major_number(), rule.minor_number()));
    DeviceRule made{.type = rule.type()[0],
                    .major = {},
                    .minor = {},
                    .access = rule.access(),
                    .allow = rule.allow()};
    if (rule.has_major_number()) made.major = rule.major_number();
    if (rule.has_minor_number()) made.minor = rule.minor_number();
    out.device_rules.push_back(std::move(made));
  }
  return {};
}
}  // namespace gantry::wire
