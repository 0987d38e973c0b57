// Whether this kernel can have bridge networks.
#pragma once

#include "base/result.h"

namespace gantry {
// Makes a bridge, a veth pair and our table in a network namespace of its own, which goes at once.
// Blocking; for the offload pool.
Result<void> probe_bridge_network();
}  // namespace gantry
