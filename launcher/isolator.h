// Isolator: one wall or one limit of a container. Implementations live in isolators/ and network/.
//
// Contract: prepare() in list order, cleanup() in reverse; cleanup is idempotent, accepts unknown
// ids, runs after prepare finished or failed, and is never cancelled. An isolator contributes ops
// to the plan and never runs code in the child; what only the parent can do is in isolate().
// Per-container state lives in the isolator's memory, keyed by ContainerId; what recovery needs is
// returned by record() and comes back through recover(). Threads: loop only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "base/co.h"
#include "base/process_ref.h"
#include "base/result.h"
#include "launcher/plan.h"

namespace gantry {
// Where the container's root file system comes from, as the plan needs it (provisioner's answer).
struct Rootfs {
  enum class Kind { host, directory, overlay } kind = Kind::host;
  std::string directory;            // kind directory
  std::vector<std::string> lowers;  // kind overlay, top first
  std::string upper, work;
  std::string snapshot_key;  // provisioner's own; empty: not ours to remove
};

// Everything the preparing of one launch may look at. The spec is final: image config merged in,
// user resolved.
struct LaunchContext {
  ContainerId id;
  std::string cgroup_name;  // ContainerId::directory_name()
  const ContainerSpec& spec;
  Credentials credentials;
  Rootfs rootfs;
  std::string sandbox;      // absolute host path of the container's sandbox directory
  std::string runtime_dir;  // absolute host path of its directory under /run/gantry
  std::string hostname;
  std::string staging_dir = {};  // absolute host path of an empty directory: OpKind::kStagingArea
  std::string prepared = {};     // the prepared child's cgroups to be taken over; empty: none
  // Of a nested container: the first process of the one it is launched in. Outlives the launch.
  const ProcessRef* parent = nullptr;
};

// A limit that was reached; the containerizer ends the container with it.
struct Limitation {
  std::string resource;  // "memory"
  std::string
      message;  // for people: "memory limit of 64 MiB reached; OOM killer ended pid 12 (dd)"
};

struct Usage {
  std::optional<uint64_t> cpu_user_us, cpu_system_us, cpu_throttled_us;
  std::optional<uint64_t> cpu_periods, cpu_throttled_periods;
  std::optional<Bytes> memory_current, memory_peak, memory_limit, memory_anon, memory_file;
  std::optional<uint64_t> oom_kills;
  std::optional<uint64_t> pids_current, pids_limit;
  std::optional<Bytes> io_read, io_written;
  std::optional<Bytes> net_received, net_sent;
  std::optional<double> cpus_limit;
};

struct RecoveredContainer {
  ContainerId id;
  std::string cgroup_name;
  ProcessIdentity process;      // pid 0: died before it was recorded; cleanup() follows
  std::string isolator_record;  // what this isolator's record() said
  // The spec as parsed again from the record's request bytes; never null.
  const ContainerSpec* spec;
};

class Isolator {
 public:
  virtual ~Isolator() = default;
  virtual std::string_view name() const = 0;
  // A nested container shares its parent's walls and limits. True: this isolator has something to
  // do for it all the same; the others never hear of it.
  virtual bool is_for_nested() const { return false; }

  // After an executor's start: adopts the known, removes what belongs to none (orphans by scanning
  // its own kind of object for names no known container has).
  virtual Co<Result<void>> recover(const std::vector<RecoveredContainer>& known) {
    (void)known;
    co_return Result<void>();
  }
  virtual Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) = 0;
  // The child is cloned, in its cgroups, and waits for the signal byte.
  virtual Co<Result<void>> isolate(const LaunchContext& context, const ProcessRef& child) {
    (void)context, (void)child;
    co_return Result<void>();
  }
  // Completes with the first limit reached; never by itself otherwise (cancelled on destroy).
  // false from watches(): nothing to watch, not called.
  virtual bool watches(const ContainerId& id) const {
    (void)id;
    return false;
  }
  virtual Co<Result<Limitation>> watch(ContainerId id) {
    (void)id;
    co_return Error(Errc::unsupported, "nothing to watch");
  }
  // Looked at once at exit: a limit that explains the death (OOM counters), before cleanup.
  virtual Co<std::optional<Limitation>> limitation_at_exit(ContainerId id) {
    (void)id;
    co_return std::nullopt;
  }
  virtual Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) {
    (void)id, (void)resources;
    co_return Result<void>();
  }
  virtual Co<Result<void>> usage(ContainerId id, Usage& into) {
    (void)id, (void)into;
    co_return Result<void>();
  }
  // For the container's record; empty: recovery needs nothing of this isolator.
  virtual std::string record(const ContainerId& id) const {
    (void)id;
    return {};
  }
  virtual Co<Result<void>> cleanup(ContainerId id) {
    (void)id;
    co_return Result<void>();
  }
};
}  // namespace gantry
