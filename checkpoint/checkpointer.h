// Checkpointer: writes the processes of a container to a directory and makes them again from it.
//
// One implementation: CriuCheckpointer (checkpoint/criu_checkpointer.h). It knows processes, mounts
// and descriptors, not containers' records: checkpoint/container_checkpoint.h joins it to those.
//
// Threads: loop only. A failed dump leaves the tasks as they were and no directory; a failed
// restore leaves no process and the directory untouched. Every error is one sentence with CRIU's
// own reason.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "base/co.h"
#include "base/process_ref.h"
#include "base/result.h"
#include "launcher/launch_backend.h"
#include "launcher/plan.h"

namespace gantry {
// A mount of the container whose contents belong to the host: a volume, a bind.
struct HostMount {
  std::string mountpoint;  // in the container
  std::string source;      // absolute host path
};

struct CheckpointRequest {
  ContainerId id;
  ProcessIdentity process;  // the container's first process
  std::string directory;    // absolute; made by the dump, must not exist
  std::string freezer;      // absolute path of the container's freezer cgroup
  bool freezer_is_v2 = true;
  bool is_paused = false;  // frozen already, and to stay so where the tasks live on
  // Everything mounted from the host. A mount from the host that is not named is refused.
  std::vector<HostMount> mounts;
  // Kept in the record as it is, handed back by read(): who the container is (opaque here).
  std::string identity;
  bool leave_running = false;
  bool tcp_established = false;
  bool file_locks = false;
  std::chrono::seconds limit{60};
};

// The time that one step of a dump or restore took.
struct StepTime {
  std::string name;
  std::chrono::microseconds duration;
};

struct CheckpointStats {
  std::chrono::microseconds frozen{0}, total{0};
  std::vector<StepTime> steps;  // in order
  Bytes size = 0;
};

// A checkpoint as its record describes it.
struct CheckpointSummary {
  std::string container_id;
  std::string identity;
  int64_t created_ns = 0;
  std::string criu_version;
  Bytes size = 0;
};

struct RestoreRequest {
  ContainerId id;
  std::string key;        // of the launcher's table (ContainerId::hash())
  std::string directory;  // what a dump made
  // As the isolators prepare it for a launch. Only Stage::cgroups and Stage::root are used: CRIU
  // itself runs them, in a mount namespace of its own.
  LaunchPlan::Builder plan;
  // Where Stage::root mounts: the top layer of an overlay, the directory of a bind.
  std::string root;
  bool cgroup_namespace = true;
  std::string freezer;  // absolute path of the container's freezer cgroup
  bool freezer_is_v2 = true;
  // One of the freezer's hierarchy for CRIU itself, which is born in the container's.
  std::string helper_cgroup;
  std::vector<HostMount> mounts;  // from the request; every one that the dump named must be here
  // The container's new stdio; invalid ones are /dev/null. `io` is what the launcher keeps of it.
  UniqueFd stdin_read, stdout_write, stderr_write;
  LaunchIo io;
  // What the request allows; a restored task with more is killed before it runs.
  SecuritySpec security;
  Credentials user;
  bool tcp_established = false;
  bool file_locks = false;
  // The first process exists, nothing has run: isolators' isolate(), the record. An error undoes
  // all.
  std::function<Co<Result<void>>(const ProcessRef&)> before_resume;
  std::chrono::seconds limit{60};
};

struct RestoredProcess {
  // A child of the launcher, in its table under `key`; all tasks are frozen.
  ProcessRef process;
  std::vector<StepTime> steps;  // in order
};

class Checkpointer {
 public:
  virtual ~Checkpointer() = default;
  virtual Co<Result<CheckpointStats>> dump(CheckpointRequest request) = 0;
  virtual Co<Result<RestoredProcess>> restore(RestoreRequest request) = 0;
  // Errc::corrupt names what is wrong with it; Errc::not_found.
  virtual Co<Result<CheckpointSummary>> read(std::string directory) = 0;
  virtual Co<Result<void>> remove(std::string directory) = 0;
  // What an earlier executor's dump left of this name: finished when it is all there is of its
  // container, else removed. A checkpoint is left alone.
  virtual Co<Result<void>> recover(std::string directory) = 0;
  // Whether this host can do it, and with which CRIU ("4.1.1"). Errc::unsupported says what to do.
  virtual Co<Result<std::string>> check() = 0;
};
}  // namespace gantry
