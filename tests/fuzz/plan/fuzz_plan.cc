// The launcher's view of a plan that came over its socket: whatever the bytes, checking stays
// inside them, and what passed can be read as the child reads it.
#include <cstring>
#include <vector>

#include "launcher/child/plan_view.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // 8-byte aligned and exactly as large as the input, so that a sanitizer sees every step outside.
  std::vector<uint64_t> copy((size + 7) / 8);
  if (size > 0) std::memcpy(copy.data(), data, size);
  gantry::child::PlanView view;
  if (gantry::child::check_plan(copy.data(), size, &view) != nullptr) return 0;
  size_t read = 0;
  for (uint32_t i = 0; i < view.header->op_count; ++i) {
    const gantry::Op& op = view.ops[i];
    read += std::strlen(view.text(op.s1)) + std::strlen(view.text(op.s2)) +
            std::strlen(view.text(op.s3));
  }
  gantry::child::relocate(&view);
  for (const uint64_t* at = view.argv; *at != 0; ++at) {
    read += std::strlen(reinterpret_cast<const char*>(*at));
  }
  for (const uint64_t* at = view.envp; *at != 0; ++at) {
    read += std::strlen(reinterpret_cast<const char*>(*at));
  }
  return read > (size_t{1} << 40) ? 1 : 0;
}
