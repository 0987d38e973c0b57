#include "base/utf8.h"

#include <algorithm>

namespace gantry {
namespace {
bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Of the character that this byte begins; 1 also where it begins none.
size_t length_by_lead(char c) {
  const auto lead = static_cast<unsigned char>(c);
  if (lead < 0xc2 || lead > 0xf4) return 1;
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
}

// Length of the valid sequence at the start of `text`, 0 when there is none (RFC 3629).
size_t utf8_sequence(std::string_view text) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = length_by_lead(text[0]);
  if (length == 1 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!continues_character(text[i])) return 0;
  }
  const unsigned char second = at(1);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
    return 0;  // overlong, a surrogate, beyond U+10FFFF
  }
  return length;
}
}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_sequence(text);
    if (length == 0) {
      out.append("\xef\xbf\xbd");
      text.remove_prefix(1);
    } else {
      out.append(text.substr(0, length));
      text.remove_prefix(length);
    }
  }
  return out;
}

size_t incomplete_utf8(std::string_view text) {
  for (size_t length = 1; length <= std::min<size_t>(text.size(), 3); ++length) {
    const char c = text[text.size() - length];
    if (!continues_character(c)) return length_by_lead(c) > length ? length : 0;
  }
  return 0;
}
}  // namespace gantry
