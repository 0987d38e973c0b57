// Points in time, as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::cli {
// A date, seconds since the epoch (an "@" may come first), or how long ago ("10m"): nanoseconds
// since the epoch.
Result<int64_t> parse_time(std::string_view flag, std::string_view text);
// "2026-11-28T10:00:00.000000000Z"
std::string timestamp(int64_t nanoseconds);
}  // namespace gantry::cli
