// String pieces joined without formatting machinery: `cat("mount ", source, " on ", target)`.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace gantry {
namespace str_internal {
inline void append(std::string& out, std::string_view piece) { out.append(piece); }
inline void append(std::string& out, char piece) { out.push_back(piece); }
template <class T>
  requires((std::integral<T> || std::floating_point<T>) && !std::same_as<T, char>)
void append(std::string& out, T piece) {
  if constexpr (std::same_as<T, bool>) {
    out.append(piece ? "true" : "false");
  } else {
    char buffer[40];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, piece).ptr);
  }
}
}  // namespace str_internal

template <class... Pieces>
std::string cat(const Pieces&... pieces) {
  std::string out;
  (str_internal::append(out, pieces), ...);
  return out;
}

// A whole string as a decimal number of type T; nothing else is accepted (no sign for unsigned
// types, no spaces, no overflow).
template <std::integral T>
bool parse_number(std::string_view text, T& out) {
  T value{};
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size()) return false;
  out = value;
  return true;
}
}  // namespace gantry
