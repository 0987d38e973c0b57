// MetricsSource as a test sets it.
#pragma once

#include "executor/metrics.h"

namespace gantry {
class MemoryMetrics final : public MetricsSource {
 public:
  Co<HostMetrics> gather() override {
    ++gathered;
    while (is_held) co_await sleep_for(std::chrono::milliseconds(1));
    co_return host;
  }

  HostMetrics host{.version = "0.1.0", .started = 100, .now = 101.5};
  int gathered = 0;
  bool is_held = false;
};
}  // namespace gantry
