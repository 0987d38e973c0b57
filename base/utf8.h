// UTF-8 (RFC 3629): what bytes of anybody's can be made of it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gantry {
// Every byte that is in no valid character becomes U+FFFD.
std::string to_valid_utf8(std::string_view text);
// How many bytes at the end begin a character that is not complete: 0 to 3.
size_t incomplete_utf8(std::string_view text);
}  // namespace gantry
