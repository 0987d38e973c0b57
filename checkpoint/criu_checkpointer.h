// Checkpointer over CRIU's RPC.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/checkpointer.h"

namespace gantry {
struct CriuSettings {
  std::string program;    // absolute path; empty: `criu` of the usual directories
  std::string cache_dir;  // a directory of ours on a tmpfs, made when missing; empty: no cache
};

class CriuCheckpointer final : public Checkpointer {
 public:
  // `backend` outlives it.
  CriuCheckpointer(LaunchBackend& backend, CriuSettings settings);
  Co<Result<CheckpointStats>> dump(CheckpointRequest request) override;
  Co<Result<RestoredProcess>> restore(RestoreRequest request) override;
  Co<Result<CheckpointSummary>> read(std::string directory) override;
  Co<Result<void>> remove(std::string directory) override;
  Co<Result<std::string>> check() override;

 private:
  LaunchBackend& backend_;
  CriuSettings settings_;
};

// The program of the settings, or the one found. Errc::unsupported says how to get one.
Result<std::string> find_criu(const std::string& configured);
}  // namespace gantry
