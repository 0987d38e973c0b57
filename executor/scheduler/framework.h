// What the scheduler keeps of a framework, and arithmetic on resources and time. Internal to
// executor/scheduler/.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "executor/scheduler/scheduler.h"

namespace gantry {
struct Scheduler::Framework {
  explicit Framework(FrameworkSpec s) : spec(std::move(s)) {}
  FrameworkSpec spec;
  std::shared_ptr<Subscription> subscription;  // null: disconnected
  std::chrono::steady_clock::time_point disconnected_since{};
  std::chrono::steady_clock::time_point refused_until{};
  bool is_suppressed = false;
  std::set<std::string> offers;
};

void add(ResourceAmounts& to, const ResourceAmounts& what);
void subtract(ResourceAmounts& from, const ResourceAmounts& what);
bool fits(const ResourceAmounts& what, const ResourceAmounts& in);
// "cpus:0.1; mem:32; disk:0; ports:[31000-32000]", as Mesos prints it.
std::string to_text(const ResourceAmounts& resources);

inline auto now() { return std::chrono::steady_clock::now(); }
// What a framework asks for in seconds: a year at most.
inline Duration seconds(double s) {
  constexpr double kYear = 365.0 * 86400;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::clamp(s, 0.0, kYear)));
}
}  // namespace gantry
