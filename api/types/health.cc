#include "api/types/health.h"

#include <utility>

namespace gantry {
namespace {
bool is_in_start_period(const HealthSpec& spec, std::chrono::nanoseconds age) {
  return age < spec.start_period.value_or(HealthSpec::Time::zero());
}
}  // namespace

std::string_view to_string(HealthStatus status) {
  switch (status) {
    case HealthStatus::starting:
      return "starting";
    case HealthStatus::healthy:
      return "healthy";
    case HealthStatus::unhealthy:
      return "unhealthy";
  }
  return "unknown";
}

void Health::add(HealthCheck check, const HealthSpec& spec, std::chrono::nanoseconds age) {
  if (check.exit_code == 0) {
    failing_streak = 0;
    status = HealthStatus::healthy;
  } else if (status != HealthStatus::starting || !is_in_start_period(spec, age)) {
    // Before it was healthy once, failures of the start period do not count.
    ++failing_streak;
    if (failing_streak >= spec.retries.value_or(HealthSpec::kRetries)) {
      status = HealthStatus::unhealthy;
    }
  }
  if (log.size() == kMostLogged) log.erase(log.begin());
  log.push_back(std::move(check));
}

HealthSpec::Time Health::pause(const HealthSpec& spec, std::chrono::nanoseconds age) const {
  const bool is_starting = status == HealthStatus::starting && is_in_start_period(spec, age);
  return is_starting ? spec.start_interval.value_or(HealthSpec::kStartInterval)
                     : spec.interval.value_or(HealthSpec::kInterval);
}
}  // namespace gantry
