// Flags of `gantry run` that contradict each other or say the same thing twice.
#pragma once

#include "executor/cli/run_request.h"

namespace gantry::cli {
Result<void> check_together(const RunOptions& options);
}  // namespace gantry::cli
