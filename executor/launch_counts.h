// LaunchCounts: how many launches there were, and how long the successful ones took.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace gantry {
class LaunchCounts {
 public:
  // Upper bounds in seconds; longer ones are counted in `succeeded` alone.
  static constexpr std::array<double, 12> kBounds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                                     0.1,   0.2,   0.5,   1,    5,    30};

  void fail() { ++failed_; }
  void succeed(std::chrono::nanoseconds took) {
    const double seconds = std::chrono::duration<double>(took).count();
    ++succeeded_;
    seconds_ += seconds;
    for (size_t i = 0; i < kBounds.size(); ++i) within_[i] += seconds <= kBounds[i] ? 1 : 0;
  }

  uint64_t all() const { return succeeded_ + failed_; }
  uint64_t failed() const { return failed_; }
  uint64_t succeeded() const { return succeeded_; }
  double seconds() const { return seconds_; }  // of all successful ones together
  uint64_t within(size_t bound) const { return within_[bound]; }

 private:
  uint64_t succeeded_ = 0, failed_ = 0;
  double seconds_ = 0;
  std::array<uint64_t, kBounds.size()> within_{};
};
}  // namespace gantry
