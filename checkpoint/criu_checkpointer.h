// Checkpointer over CRIU's RPC.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/checkpointer.h"
#include "checkpoint/workspace.h"

namespace gantry {
struct CriuSettings {
  std::string program;  // absolute path; empty: `criu` of the usual directories
  UniqueFd tar;         // what CRIU calls as `tar`: gantry-criu-tar, sealed; none: the host's
  std::string probe;    // the file that keeps CRIU's probe of the kernel; empty: none
};

class CriuCheckpointer final : public Checkpointer {
 public:
  // `backend` outlives it.
  CriuCheckpointer(LaunchBackend& backend, CriuSettings settings);
  Co<Result<CheckpointStats>> dump(CheckpointRequest request) override;
  Co<Result<RestoredProcess>> restore(RestoreRequest request) override;
  Co<Result<CheckpointSummary>> read(std::string directory) override;
  Co<Result<void>> remove(std::string directory) override;
  Co<Result<void>> recover(std::string directory) override;
  Co<Result<std::string>> check() override;

 private:
  LaunchBackend& backend_;
  std::string program_;
  UniqueFd tar_;
  KernelProbe probe_;
};

// The program of the settings, or the one found. Errc::unsupported says how to get one.
Result<std::string> find_criu(const std::string& configured);
// Whether a CRIU of this version ("4.1.1") saves TCP and UDP sockets on this kernel.
bool saves_inet_sockets(const std::string& criu_version);
}  // namespace gantry
