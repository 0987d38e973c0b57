// An executor's complaint about a launch, in the words of the command line and with what to do
// next.
#pragma once

#include <string>
#include <string_view>

namespace gantry::cli {
// About a field of `request`, the body of the call: "--cpus 9999: must be 0.01 to 8192".
std::string in_flags(std::string complaint, const std::string& request);

// A line or two for a launch that failed with exit status `status`; empty: the complaint says it
// all.
std::string next_step(std::string_view complaint, int status);
}  // namespace gantry::cli
