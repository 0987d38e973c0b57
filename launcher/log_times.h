// When which output came: an index beside a container's `stdout` and `stderr`, written by
// gantry-logger, one entry for what comes within a hundredth of a second. A byte's time is that of
// the last entry of its stream whose offset is not beyond it. Plain data: the logger includes it.
#pragma once

#include <cstdint>

namespace gantry {
inline constexpr const char* kTimesFile = ".output-times";
inline constexpr int64_t kTimesResolutionNs = 10'000'000;

struct LogTime {
  int64_t time_ns;  // since the epoch
  uint64_t place;   // offset << 1 | stream (0 stdout, 1 stderr)
};
static_assert(sizeof(LogTime) == 16);
}  // namespace gantry
