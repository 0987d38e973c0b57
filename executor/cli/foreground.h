// A container in the foreground: its output comes here, signals and stdin go there, and its exit
// status is ours.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "executor/cli/session.h"

namespace gantry::cli {
struct ForegroundOptions {
  bool stdin_attached = false;
  bool terminal = false;         // the container has one: ours is lent to it
  std::string detach_keys = {};  // bytes that leave the container's terminal
  bool json = false;             // report the end as JSON on stderr
  std::string restart = {};      // its --restart: what happens after the end is said
  std::string name = {};         // what the person calls it; empty: its id
  std::function<Result<void>()> on_started = {};  // once, when it runs
};
// `request` is a GANTRY_RUN for `container`. Survives the executor: when the stream breaks, it
// attaches again to the next executor's and goes on at the byte where it was.
Result<int> run_in_foreground(Session& session, const ContainerRef& container,
                              const std::string& request, const ForegroundOptions& options);

// The same for a container that runs already, or that `begin` lets run, from its output of now on.
Result<int> attach_in_foreground(Session& session, const ContainerRef& container,
                                 const ForegroundOptions& options,
                                 const std::function<Result<void>()>& begin = {});

// The stdin of this program is a terminal, as -t with -i needs it.
Result<void> check_terminal(bool is_interactive);
}  // namespace gantry::cli
