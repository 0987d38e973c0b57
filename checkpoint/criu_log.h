// What CRIU's log says about a failure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry {
// One sentence from a log at level 4: what to do about it where we know the message, else CRIU's
// first error line. The harmless RLIMIT_NOFILE complaint and what follows from the first error are
// passed over.
std::string explain_criu_log(std::string_view log);

// The last lines that are errors or warnings, at most `lines`, joined by "; ".
std::string criu_log_tail(std::string_view log, size_t lines);
}  // namespace gantry
