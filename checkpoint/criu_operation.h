// What a dump and a restore have in common: the directory, CRIU's process, the reason of a failure.
// Internal to checkpoint/.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "checkpoint/criu_checkpointer.h"
#include "checkpoint/criu_session.h"

namespace gantry {
using SteadyTime = std::chrono::steady_clock::time_point;

inline std::chrono::microseconds since(SteadyTime start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

// A key of the launcher's table for CRIU's own process.
std::string helper_key();
// Settings of a session; the cache directory only where it helps and hides none of `paths`.
CriuSession::Settings session_settings(const CriuSettings& settings, const std::string& program,
                                       const std::vector<std::string>& paths);
// Adds what CRIU's log says to an error of a conversation.
Error with_reason(Error error, const std::string& directory, const char* log_name);

// One dump, from the request to the answer.
Co<Result<CheckpointStats>> run_dump(LaunchBackend& backend, CriuSettings settings,
                                     CheckpointRequest request);
Co<Result<RestoredProcess>> run_restore(LaunchBackend& backend, CriuSettings settings,
                                        RestoreRequest request);
}  // namespace gantry
