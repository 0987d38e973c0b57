// The same in protobuf; JSON of it is printed whatever its strings hold.
#include "api/wire/json.h"
#include "tests/fuzz/api/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gantry::wire::agent::Call call;
  if (gantry::wire::from_binary({reinterpret_cast<const char*>(data), size}, call)) {
    gantry::fuzz::check_call(call);
  }
  return 0;
}
