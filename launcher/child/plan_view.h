// A plan as the launcher and the child see it: bytes of another process, checked before use.
#pragma once

#include "launcher/plan_format.h"

namespace gantry::child {
struct PlanView {
  PlanHeader* header = nullptr;
  const Op* ops = nullptr;
  uint64_t* argv = nullptr;  // arena offsets until relocate()
  uint64_t* envp = nullptr;
  const char* arena = nullptr;

  const char* text(uint32_t offset) const { return arena + offset; }
};

// Fills `view` and returns nullptr when every count, offset, slot and kind of the plan is in
// bounds; otherwise what is wrong with it. `bytes` must be 8-byte aligned and stay; nothing of them
// is changed. A text offset that passed is NUL-terminated inside the arena.
const char* check_plan(void* bytes, size_t size, PlanView* view);

// Turns argv and envp into arrays of pointers, in place. Once.
void relocate(PlanView* view);
}  // namespace gantry::child
