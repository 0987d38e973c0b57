// Pauses that grow from 0.2 to 50 ms, for at most `limit` together.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/co.h"

namespace gantry {
class Backoff {
 public:
  explicit Backoff(Duration limit) : end_(std::chrono::steady_clock::now() + limit) {}
  Co<bool> again() {
    if (std::chrono::steady_clock::now() >= end_) co_return false;
    co_await sleep_for(pause_);
    pause_ = std::min<Duration>(pause_ * 2, std::chrono::milliseconds(50));
    co_return true;
  }

 private:
  std::chrono::steady_clock::time_point end_;
  Duration pause_ = std::chrono::microseconds(200);
};
}  // namespace gantry
