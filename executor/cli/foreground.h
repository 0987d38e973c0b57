// A container in the foreground: its output comes here, signals and stdin go there, and its exit
// status is ours.
#pragma once

#include <string>

#include "base/result.h"
#include "executor/cli/session.h"

namespace gantry::cli {
struct ForegroundOptions {
  bool stdin_attached = false;
  bool json = false;  // report the end as JSON on stderr
};
// `request` is a GANTRY_RUN for `container`. Survives the executor: when the stream breaks, it
// attaches again to the next executor's and goes on at the byte where it was.
Result<int> run_in_foreground(Session& session, const ContainerRef& container,
                              const std::string& request, const ForegroundOptions& options);

// Prints why a launch failed; docker's status for it (125, 126, 127).
int report_launch_failure(const HttpResponse& response);
}  // namespace gantry::cli
