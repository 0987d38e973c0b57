// An empty network namespace, for a container that is restored into one.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// A new network namespace with its loopback up, held by the descriptor alone: nothing is left when
// the last one closes. Makes it in the calling thread and returns to the old one; a thread that
// cannot return ends the program. Run it on the offload pool.
Result<UniqueFd> make_network_namespace();
}  // namespace gantry
