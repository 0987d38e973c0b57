// The files of a container's output, as gantry-logger writes and the executor reads them: `stdout`
// and `stderr`, and of a stream that is rotated the former ones, `stdout.1` … of which the last is
// the oldest. Positions in a stream count from its first byte, whatever has been removed since.
// Plain data: the logger includes it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gantry {
inline constexpr const char* kLogNames[] = {"stdout", "stderr"};
// Of a file that does not begin with the stream: an uint64_t, the position of its first byte. Set
// before that byte: an empty file without it is not yet one. KERNEL: trusted.* is root's alone.
inline constexpr const char* kLogBeginAttribute = "trusted.gantry.log_begin";
inline constexpr uint32_t kMostLogFiles = 1000;
// While one is rotated, or when that was interrupted, one of the names in between is missing.
inline constexpr uint32_t kMostMissingNames = 1;
}  // namespace gantry
