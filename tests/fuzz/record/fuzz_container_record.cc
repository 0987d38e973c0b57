// A container's record or registration, framed rightly: what another version, or a flipped bit that
// a checksum of its own covers, may say. What parses has an id and a state that are legal.
#include "containerizer/container_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto record = gantry::parse_record({reinterpret_cast<const char*>(data), size});
  if (!record) return 0;
  if (!gantry::ContainerId::parse_path(record->id.to_string())) __builtin_trap();
  if (record->outcome) (void)record->outcome->wait_status();
  return 0;
}
