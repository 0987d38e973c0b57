// How often a test does what it does very often: less on a slow machine (GANTRY_SLOWNESS, as in
// tests/support/gantry.py).
#pragma once

#include <algorithm>
#include <cstdlib>

namespace gantry::test {
inline int many(int count) {
  const char* slowness = std::getenv("GANTRY_SLOWNESS");
  return slowness == nullptr ? count : std::max(10, count / std::max(1, std::atoi(slowness)));
}
}  // namespace gantry::test
