// Starting an executor where none listens, as tmux starts its server (architecture §4).
#pragma once

#include "base/result.h"
#include "executor/cli/http_client.h"
#include "executor/cli/session.h"

namespace gantry::cli {
// Connects to the executor at `location`, starting one when nobody listens. Callers at the same
// time take turns by a lock file beside the runtime directory, so one executor is started and all
// connect to it. The last words of an executor that ends before it listens are the error; only one
// that was killed, or that found another one on its way, is tried again.
Result<Connection> connect_or_start(const Location& location);

// Connects, and starts none. No permission: Errc::refused, and what to do.
Result<Connection> connect_as_permitted(const Location& location);

// A program of ours: beside this one (/proc/self/exe), else the name as it is for PATH.
std::string sibling_program(std::string_view name);
}  // namespace gantry::cli
