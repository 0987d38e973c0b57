// How much of what waits may still go to a file that is nearly full: whole lines, as far as there
// are any.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace gantry::logger {
// So far a line may go beyond its file's limit; there it is cut.
inline constexpr uint64_t kMostBeyond = 64u << 10;

// Where lines end in the bytes that wait.
struct LineEnds {
  uint64_t room = 0;          // what fits
  uint64_t seen = 0;          // bytes looked at
  uint64_t last_within = 0;   // bytes to the end of the last line that fits; 0: none does
  uint64_t first_beyond = 0;  // bytes to the first line end that does not fit; 0: none was seen

  void look(const char* bytes, size_t count) {
    const size_t fits = seen >= room ? 0 : room - seen < count ? room - seen : count;
    if (const void* end = memrchr(bytes, '\n', fits)) last_within = position_behind(bytes, end);
    if (first_beyond == 0 && fits < count) {
      const void* end = memchr(bytes + fits, '\n', count - fits);
      if (end != nullptr) first_beyond = position_behind(bytes, end);
    }
    seen += count;
  }

 private:
  uint64_t position_behind(const char* bytes, const void* end) const {
    return seen + static_cast<uint64_t>(static_cast<const char*>(end) - bytes) + 1;
  }
};

inline uint64_t room_in(uint64_t size, uint64_t limit) { return size < limit ? limit - size : 0; }

// Bytes to move to a file of `size` bytes; 0: to the next file with them.
inline uint64_t cut(const LineEnds& ends, uint64_t size, uint64_t limit, bool is_at_line_start) {
  if (ends.last_within > 0) return ends.last_within;
  if (ends.seen < ends.room) return ends.seen;
  if (is_at_line_start && size > 0) return 0;
  const uint64_t most = room_in(size, limit + kMostBeyond);
  if (ends.first_beyond > 0 && ends.first_beyond <= most) return ends.first_beyond;
  return ends.seen < most ? ends.seen : most;
}
}  // namespace gantry::logger
