// The build that this executor becomes in place: the same process (pid, lock, sockets that never
// stop listening), another program, which recovers as after a crash. Containers do not notice;
// clients are disconnected, and find the socket open.
#pragma once

#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// What a successor is started with again. It reads the configuration file anew.
struct StartedAs {
  std::vector<std::string> arguments;    // behind the program's name
  std::vector<std::string> environment;  // GANTRY_…=…
};
StartedAs started_as(int argc, char** argv);

// Descriptors from before the exec, or from systemd (sd_listen_fds(3)): a listening unix socket of
// any name is `socket`.
struct Handed {
  UniqueFd lock, socket, insecure, tls;
};
// Before anything else is opened, and before the environment is emptied.
Handed take_handed();

// That the program runs here and accepts this configuration: an exec has no way back. The error is
// what it said.
Co<Result<void>> try_successor(std::string program, StartedAs start);
// Returns only when it fails. Every other descriptor is close-on-exec.
Error become_successor(const std::string& program, const StartedAs& start, Handed handed);
}  // namespace gantry
