// Words of somebody else in one line of ours: in a log, in an error's text.
#pragma once

#include <string>
#include <string_view>

namespace gantry {
// Control characters as \n and \xHH: nobody begins a line of his own, or moves a terminal's cursor.
inline std::string printable(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte != 0x7f) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}
}  // namespace gantry
