// What a dump and a restore have in common: CRIU's process, its workspace, the reason of a failure.
// Internal to checkpoint/.
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/criu_checkpointer.h"
#include "checkpoint/criu_session.h"
#include "checkpoint/mount_table.h"
#include "checkpoint/workspace.h"

namespace gantry {
using SteadyTime = std::chrono::steady_clock::time_point;

inline std::chrono::microseconds since(SteadyTime start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

class Stopwatch {
 public:
  // The step that began with the last call has ended.
  void step(const char* name) {
    SteadyTime now = std::chrono::steady_clock::now();
    steps_.push_back({name, std::chrono::duration_cast<std::chrono::microseconds>(now - last_)});
    last_ = now;
  }
  std::vector<StepTime> take() { return std::move(steps_); }

 private:
  std::vector<StepTime> steps_;
  SteadyTime last_ = std::chrono::steady_clock::now();
};

// Of a process, as it sees them; and the devices of all that are mounted on the host.
Result<std::vector<MountEntry>> mounts_of(pid_t pid);
Result<std::set<std::string>> host_devices();

// What every operation works with; outlives it.
struct CriuHost {
  LaunchBackend& backend;
  KernelProbe& probe;
  const UniqueFd& tar;
};

// A CRIU that has said which version it is; nothing else was asked of it yet.
class CriuProcess {
 public:
  // What it does when the executor dies: it ends and undoes what it began, or stays where it is
  // until it is killed.
  enum class IfWeDie { undo, wait };
  // `paths`: on the host, what CRIU will look for below /run. `plan`: as CriuSession::start.
  // Errc::unsupported when it is too old, with what to do.
  static Co<Result<std::unique_ptr<CriuProcess>>> start(CriuHost host, std::string program,
                                                        const std::vector<std::string>& paths,
                                                        LaunchPlan::Builder plan,
                                                        CriuSession::Inherited inherited,
                                                        IfWeDie if_we_die = IfWeDie::undo);
  CriuSession& session() { return *session_; }
  const std::string& version() const { return version_; }
  int work_directory() const { return workspace_.directory(); }
  // Adds what CRIU's log says to an error of a conversation.
  Error with_reason(Error error, const char* log_name) const;
  // Must run before destruction. `limit`: after it CRIU is killed.
  Co<void> close(Duration limit = std::chrono::seconds(10));

 private:
  CriuProcess(CriuHost host, std::string program, Workspace workspace)
      : host_(host), program_(std::move(program)), workspace_(std::move(workspace)) {}
  Co<Result<void>> ask_version();

  CriuHost host_;
  std::string program_;
  Workspace workspace_;
  std::unique_ptr<CriuSession> session_;
  std::string version_;
};

Co<Result<CheckpointStats>> run_dump(CriuHost host, std::string program, CheckpointRequest request);
Co<Result<RestoredProcess>> run_restore(CriuHost host, std::string program, RestoreRequest request);
}  // namespace gantry
