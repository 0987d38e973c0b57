// gantry doctor --bundle: a report to hand in.
#pragma once

#include <string>

#include "executor/cli/session.h"

namespace gantry::cli {
// `findings`: what doctor says. An executor that does not answer is said in the report.
Result<void> write_bundle(Session& session, const std::string& findings, const std::string& path);
// Errc::timed_out from an executor that hangs: that is worth a report.
Result<std::string> ask_in_time(Connection& connection, const std::string& call);
// A name for it that says when.
std::string bundle_name();
}  // namespace gantry::cli
