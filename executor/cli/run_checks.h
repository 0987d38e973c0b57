// Flags of `gantry run` that contradict each other or say the same thing twice.
#pragma once

#include "executor/cli/run_request.h"
#include "executor/cli/session.h"

namespace gantry::cli {
Result<void> check_together(const RunOptions& options);
// What another machine's executor cannot be asked for: our descriptors, and paths of this machine.
Result<void> check_locality(const Session& session, const RunOptions& options);
}  // namespace gantry::cli
