#include "api/wire/recordio.h"

#include "base/str.h"

namespace gantry::wire {
namespace {
constexpr size_t kMaxHeader = 20;  // digits of 2^64
}

void append_record(std::string_view bytes, std::string& out) {
  out += cat(bytes.size(), "\n");
  out.append(bytes);
}

std::string encode_record(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + kMaxHeader);
  append_record(bytes, out);
  return out;
}

void RecordDecoder::feed(std::string_view bytes) {
  if (broken_) return;
  buffer_.erase(0, start_);
  start_ = 0;
  buffer_.append(bytes);
}

Result<RecordDecoder::Got> RecordDecoder::next(std::string& out) {
  const Error malformed(Errc::corrupt, "recordio: a record does not begin with its length");
  if (broken_) return malformed;
  const std::string_view rest = std::string_view(buffer_).substr(start_);
  const size_t newline = rest.substr(0, kMaxHeader + 1).find('\n');
  if (newline == std::string_view::npos) {
    // Every byte before the newline must be a digit, and there are few of them.
    broken_ =
        rest.size() > kMaxHeader || rest.find_first_not_of("0123456789") != std::string_view::npos;
    if (broken_) return malformed;
    return Got::need_more;
  }
  size_t length = 0;
  if (!parse_number(rest.substr(0, newline), length)) {
    broken_ = true;
    return malformed;
  }
  if (length > max_record_) {
    broken_ = true;
    return Error(Errc::exhausted, cat("recordio: a record of ", length, " bytes, at most ",
                                      max_record_, " are accepted"));
  }
  if (rest.size() - newline - 1 < length) return Got::need_more;
  out.assign(rest.substr(newline + 1, length));
  start_ += newline + 1 + length;
  return Got::record;
}
}  // namespace gantry::wire
