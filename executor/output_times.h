// The times of a container's output, read from the index that gantry-logger keeps.
//
// Threads: loop only. SAFETY: tenants may own the sandbox; what the index says moves the bounds of
// what is read of their own output, and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/path_at.h"
#include "base/result.h"

namespace gantry {
class OutputTimes {
 public:
  // Reads what was added since. Errc::unsupported when there is no index.
  Result<void> refresh(const DirFd& sandbox);
  // Where what came at `time_ns` or later begins; `size` when nothing did.
  uint64_t offset_at(int stream, int64_t time_ns, uint64_t size) const;
  // The time of the byte at `offset`, and where that of the next begins.
  struct Span {
    std::optional<int64_t> time_ns;
    uint64_t end;  // UINT64_MAX: not known yet
  };
  Span span_at(int stream, uint64_t offset) const;
  // Of two bytes, one of each stream: the stream of the one that came first.
  int older(uint64_t out_offset, uint64_t err_offset) const;
  // How many bytes from `offset` on came no later than the other stream's at `other_offset`.
  uint64_t length_before(int stream, uint64_t offset, uint64_t other_offset) const;
  // Nobody asks about what is before `offset` any more.
  void forget(int stream, uint64_t offset);

 private:
  struct Entry {
    int64_t time_ns;
    uint64_t offset;
  };
  UniqueFd file_;
  std::vector<Entry> entries_[2];  // offsets ascending; the first may be that of forgotten bytes
  uint64_t passed_[2] = {};        // forget()
  uint64_t bytes_ = 0;             // of file_, read so far
};
}  // namespace gantry
