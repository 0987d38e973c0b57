// An executor's complaint about a launch, in the words of the command line and with what to do
// next.
#pragma once

#include <string>

#include "executor/cli/session.h"

namespace gantry::cli {
// About a field of `request`, the body of the call: "--cpus 9999: must be 0.01 to 8192".
std::string in_flags(std::string complaint, const std::string& request);

// Prints why the launch that `request` asked for failed; docker's status for it (125, 126, 127).
int report_launch_failure(Session& session, const HttpResponse& response,
                          const std::string& request);
}  // namespace gantry::cli
