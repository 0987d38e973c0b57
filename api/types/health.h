// Health checks: a command that is run in a container again and again, and what came of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gantry {
// What is asked for. Docker's words, rules and defaults; on_failure is podman's.
struct HealthSpec {
  using Time = std::chrono::milliseconds;
  static constexpr Time kInterval{30'000}, kTimeout{30'000}, kStartInterval{5'000},
      kLongest{31'536'000'000};
  static constexpr uint32_t kRetries = 3, kMostRetries = 1'000'000;

  bool is_off = false;                                                  // not even the image's
  std::vector<std::string> args;                                        // empty: the image's
  std::optional<Time> interval, timeout, start_period, start_interval;  // absent: the image's
  std::optional<uint32_t> retries;
  enum class OnFailure { none, kill, restart, stop } on_failure = OnFailure::none;

  bool is_on() const { return !is_off && !args.empty(); }
};

enum class HealthStatus { starting, healthy, unhealthy };
std::string_view to_string(HealthStatus status);

struct HealthCheck {
  int64_t start_ns = 0, end_ns = 0;  // since the epoch
  int exit_code = 0;                 // -1: it did not run, or not to its end
  std::string output;                // its beginning
};

struct Health {
  static constexpr size_t kMostLogged = 5, kMostOutput = 4096;

  HealthStatus status = HealthStatus::starting;
  uint32_t failing_streak = 0;
  std::vector<HealthCheck> log;  // the last ones, oldest first

  // `age`: the container's when the check began.
  void add(HealthCheck check, const HealthSpec& spec, std::chrono::nanoseconds age);
  // Until the next check.
  HealthSpec::Time pause(const HealthSpec& spec, std::chrono::nanoseconds age) const;
};
}  // namespace gantry
