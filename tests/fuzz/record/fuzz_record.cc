// A persisted record: what a torn or hostile file may do to unframe_record(). What it accepts, it
// frames the same way again.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/record_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view frame(reinterpret_cast<const char*>(data), size);
  auto payload = gantry::unframe_record(frame);
  if (payload && gantry::frame_record(*payload, static_cast<uint8_t>(frame[4])) != frame)
    __builtin_trap();
  return 0;
}
