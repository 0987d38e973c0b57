// A call of the operator API in JSON: no crash, and what is accepted is accepted again when it is
// printed; a launch that is valid is valid again as a record keeps it.
#include <cstdlib>

#include "api/proto/scheduler.pb.h"
#include "api/wire/json.h"
#include "tests/fuzz/api/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  gantry::wire::agent::Call call;
  if (gantry::wire::from_json(text, call)) gantry::fuzz::check_call(call);
  gantry::wire::scheduler::Call scheduler;
  if (gantry::wire::from_json(text, scheduler)) gantry::fuzz::check_prints(scheduler);
  return 0;
}
