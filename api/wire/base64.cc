#include <array>
#include <cstdint>

#include "api/wire/json.h"
#include "base/utf8.h"

namespace gantry::wire {
namespace {
constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> kValues = [] {
  std::array<int8_t, 256> out{};
  for (auto& value : out) value = -1;
  for (int i = 0; i < 64; ++i)
    out[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  return out;
}();
}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  size_t i = 0;
  auto byte = [&](size_t at) {
    return static_cast<uint32_t>(static_cast<unsigned char>(bytes[at]));
  };
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (int shift : {18, 12, 6, 0}) out.push_back(kAlphabet[group >> shift & 63]);
  }
  const size_t rest = bytes.size() - i;
  if (rest != 0) {
    const uint32_t group = byte(i) << 16 | (rest == 2 ? byte(i + 1) << 8 : 0);
    out.push_back(kAlphabet[group >> 18 & 63]);
    out.push_back(kAlphabet[group >> 12 & 63]);
    out.push_back(rest == 2 ? kAlphabet[group >> 6 & 63] : '=');
    out.push_back('=');
  }
  return out;
}

Result<std::string> from_base64(std::string_view text) {
  const Error bad(Errc::invalid, "not base64 (standard alphabet, with padding)");
  if (text.size() % 4 != 0) return bad;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    uint32_t group = 0;
    for (size_t j = 0; j < 4; ++j) {
      const bool padded = last && j >= 4 - padding;
      const int value = padded ? 0 : kValues[static_cast<unsigned char>(text[i + j])];
      if (value < 0) return bad;
      group = group << 6 | static_cast<uint32_t>(value);
    }
    const size_t bytes = last ? 3 - padding : 3;
    for (size_t j = 0; j < bytes; ++j)
      out.push_back(static_cast<char>(group >> (16 - 8 * j) & 255));
  }
  return out;
}

std::string to_valid_utf8(std::string_view text) { return gantry::to_valid_utf8(text); }
}  // namespace gantry::wire
