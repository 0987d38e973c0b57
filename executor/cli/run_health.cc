#include "executor/cli/run_health.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "api/types/health.h"
#include "executor/cli/command.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"

namespace gantry::cli {
namespace {
struct Given {
  std::string_view flag;
  const std::string& value;
};
std::array<Given, 7> all_of(const RunOptions& o) {
  return {{{"--health-cmd", o.health_cmd},
           {"--health-interval", o.health_interval},
           {"--health-timeout", o.health_timeout},
           {"--health-retries", o.health_retries},
           {"--health-start-period", o.health_start_period},
           {"--health-start-interval", o.health_start_interval},
           {"--health-on-failure", o.health_on_failure}}};
}

// docker's durations are ours: "1m30s" too.
Result<int64_t> milliseconds(std::string_view flag, std::string_view text) {
  double seconds = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const size_t end = std::min(rest.find_first_of("0123456789.", digits), rest.size());
    const Result<double> part = parse_seconds(flag, rest.substr(0, end));
    if (!part) {
      return usage_error(cat(flag,
                             " is a time like 500ms, 10s or 1m30s, in h, m, s and ms (a number "
                             "alone is seconds, which docker refuses), not \"",
                             text, "\""));
    }
    seconds += *part;
    rest.remove_prefix(end);
  }
  constexpr double kYear = 31'536'000;
  if (seconds > kYear)
    return usage_error(cat(flag, " is at most a year (8760h), not \"", text, "\""));
  const auto ms = static_cast<int64_t>(std::llround(seconds * 1000));
  if (ms == 0 && seconds > 0) return usage_error(cat(flag, " is at least 1ms, not \"", text, "\""));
  return ms;
}

Result<uint32_t> retries_of(std::string_view text) {
  uint32_t retries = 0;
  if (parse_number(text, retries) && retries <= HealthSpec::kMostRetries) return retries;
  return usage_error(cat("--health-retries is a whole number from 1 to ", HealthSpec::kMostRetries,
                         " (0: as if it were not given), not \"", text, "\""));
}
}  // namespace

void RunOptions::declare_health(Flags& flags) {
  flags.section("Health");
  flags.add(0, "health-cmd", "COMMAND", &health_cmd,
            "what /bin/sh -c runs inside, again and again: exit status 0 is healthy (default: the "
            "image's HEALTHCHECK)");
  flags.add(
      0, "health-interval", "TIME", &health_interval,
      "from the start to the first check, and between two: 500ms, 10s, 1m30s; a number alone is "
      "seconds (30s)");
  flags.add(0, "health-timeout", "TIME", &health_timeout,
            "a check that takes longer is killed and has failed (30s)");
  flags.add(0, "health-retries", "N", &health_retries,
            "so many failures in a row make it unhealthy (3)");
  flags.add(0, "health-start-period", "TIME", &health_start_period,
            "failures do not count so long, until it was healthy once (0s)");
  flags.add(0, "health-start-interval", "TIME", &health_start_interval,
            "between the checks meanwhile (5s)");
  flags.add(
      0, "health-on-failure", "ACTION", &health_on_failure,
      "when it is unhealthy: none (the default), kill (--restart then counts), restart, stop");
  flags.toggle(0, "no-healthcheck", &no_healthcheck, "do not check, whatever the image says");
}

Result<void> check_health(const RunOptions& options) {
  for (const Given& given : all_of(options)) {
    if (given.value.empty()) continue;
    if (options.no_healthcheck) {
      return usage_error(cat("--no-healthcheck and ", given.flag, " ", given.value,
                             " contradict each other: give one of them"));
    }
    if (!options.rootfs.empty() && options.health_cmd.empty()) {
      return usage_error(cat(given.flag,
                             " needs --health-cmd: a directory, unlike an image, has no "
                             "check of its own"));
    }
  }
  if (options.remove && options.health_on_failure == "restart") {
    return usage_error(
        "--health-on-failure restart and --rm exclude each other: what is removed cannot run "
        "again");
  }
  return {};
}

Result<void> write_health(JsonWriter& json, const RunOptions& options) {
  const auto is_given = [](const Given& given) { return !given.value.empty(); };
  const auto all = all_of(options);
  if (options.no_healthcheck) json.open("health").boolean("off", true).close();
  if (std::ranges::none_of(all, is_given)) return {};
  json.open("health");
  if (!options.health_cmd.empty()) json.text("shell", options.health_cmd);
  const std::pair<std::string_view, Given> times[] = {{"interval_ms", all[1]},
                                                      {"timeout_ms", all[2]},
                                                      {"start_period_ms", all[4]},
                                                      {"start_interval_ms", all[5]}};
  for (const auto& [key, given] : times) {
    if (given.value.empty()) continue;
    const int64_t value = GANTRY_TRY(milliseconds(given.flag, given.value));
    // docker's 0: as if it were not given.
    if (value != 0 || key == "start_period_ms") json.integer(key, value);
  }
  if (!options.health_retries.empty()) {
    const uint32_t retries = GANTRY_TRY(retries_of(options.health_retries));
    if (retries != 0) json.integer("retries", retries);
  }
  if (!options.health_on_failure.empty()) {
    static constexpr Pair kActions[] = {
        {"none", "NONE"}, {"kill", "KILL"}, {"restart", "RESTART"}, {"stop", "STOP"}};
    const auto* action = std::ranges::find(kActions, options.health_on_failure, &Pair::key);
    if (action == std::end(kActions)) {
      return usage_error(cat("--health-on-failure is none, kill, restart or stop, not \"",
                             options.health_on_failure, "\""));
    }
    json.text("on_failure", action->value);
  }
  json.close();
  return {};
}
}  // namespace gantry::cli
