// The health check of a launch.
#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
enum class Zero { no, yes };
Result<void> add_time(const Field& field, uint64_t value, Zero zero,
                      std::optional<HealthSpec::Time>& out) {
  const auto most = static_cast<uint64_t>(HealthSpec::kLongest.count());
  if ((value == 0 && zero == Zero::no) || value > most) {
    return invalid(field,
                   cat("must be from ", zero == Zero::no ? 1 : 0, " to a year (", most, ")"));
  }
  out = HealthSpec::Time(value);
  return {};
}

Result<void> add_command(const Field& field, const GantrySpec::Health& in, HealthSpec& out) {
  if (in.args_size() != 0 && in.has_shell()) return invalid(field / "shell", "excludes args");
  GANTRY_TRY(check_count(field / "args", in.args_size()));
  for (int i = 0; i < in.args_size(); ++i) {
    GANTRY_TRY(check_text((field / "args")[i], in.args(i), kMaxArgument));
  }
  if (in.args_size() != 0 && in.args(0).empty()) {
    return invalid((field / "args")[0], "the program's name must not be empty");
  }
  out.args.assign(in.args().begin(), in.args().end());
  if (!in.has_shell()) return {};
  if (in.shell().empty()) return invalid(field / "shell", "must not be empty");
  GANTRY_TRY(check_text(field / "shell", in.shell(), kMaxArgument));
  out.args = {"/bin/sh", "-c", in.shell()};
  return {};
}
}  // namespace

Result<void> add_health(const Field& field, const GantrySpec& spec, ContainerSpec& to) {
  const GantrySpec::Health& in = spec.health();
  HealthSpec& out = to.health.emplace();
  out.is_off = in.off();
  GANTRY_TRY(add_command(field, in, out));
  if (in.has_interval_ms()) {
    GANTRY_TRY(add_time(field / "interval_ms", in.interval_ms(), Zero::no, out.interval));
  }
  if (in.has_timeout_ms()) {
    GANTRY_TRY(add_time(field / "timeout_ms", in.timeout_ms(), Zero::no, out.timeout));
  }
  if (in.has_start_period_ms()) {
    GANTRY_TRY(
        add_time(field / "start_period_ms", in.start_period_ms(), Zero::yes, out.start_period));
  }
  if (in.has_start_interval_ms()) {
    GANTRY_TRY(add_time(field / "start_interval_ms", in.start_interval_ms(), Zero::no,
                        out.start_interval));
  }
  if (in.has_retries()) {
    GANTRY_TRY(check_range(field / "retries", in.retries(), 1, HealthSpec::kMostRetries));
    out.retries = in.retries();
  }
  out.on_failure = static_cast<HealthSpec::OnFailure>(in.on_failure());
  if (out.on_failure == HealthSpec::OnFailure::restart && spec.remove_on_exit()) {
    return invalid(field / "on_failure",
                   "RESTART excludes remove_on_exit: what is removed cannot run again");
  }
  const bool says_more = !out.args.empty() || out.interval || out.timeout || out.start_period ||
                         out.start_interval || out.retries || in.has_on_failure();
  if (out.is_off && says_more) return invalid(field / "off", "excludes everything else");
  return {};
}
}  // namespace gantry::wire
