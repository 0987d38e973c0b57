// RecordIO: `<decimal length>\n<bytes>` repeated, no separator. Record borders and chunk borders of
// HTTP have nothing to do with each other.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::wire {
// One record: the length line and the bytes.
std::string encode_record(std::string_view bytes);
void append_record(std::string_view bytes, std::string& out);

// Incremental: feed() bytes as they come, then next() until it says there is none yet. Once broken
// it stays broken, as Mesos' does. Holds at most one unfinished record and the bytes of one feed().
class RecordDecoder {
 public:
  explicit RecordDecoder(size_t max_record) : max_record_(max_record) {}

  void feed(std::string_view bytes);
  enum class Got { record, need_more };
  // A record into `out` (may be empty: a 0-length record is legal). Errc::corrupt for a header
  // that is not a number, Errc::exhausted for one above the limit.
  Result<Got> next(std::string& out);
  // The stream may end here: nothing of a record is pending.
  bool is_at_border() const { return start_ == buffer_.size() && !broken_; }

 private:
  size_t max_record_;
  std::string buffer_;
  size_t start_ = 0;  // of what is not consumed
  bool broken_ = false;
};
}  // namespace gantry::wire
