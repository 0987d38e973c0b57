#include "api/types/task.h"

#include <sys/random.h>

#include <span>

#include "base/sys.h"

namespace gantry {
std::string make_uuid() {
  std::string bytes(16, '\0');
  GANTRY_CHECK(::getrandom(bytes.data(), bytes.size(), 0) == 16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  return bytes;
}

std::string format_uuid(std::string_view bytes) {
  std::string hex = sys::to_hex(std::as_bytes(std::span(bytes)));
  for (size_t at : {20, 16, 12, 8}) hex.insert(at, "-");
  return hex;
}
}  // namespace gantry
