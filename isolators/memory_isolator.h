// Memory: limit, reservation, swap; an OOM kill is a Limitation.
//
// v1: one eventfd serves the notices of all containers; a notice only says "somewhere", the
// oom_kill counters say where. v2: memory.events of a limited container is watched (POLLPRI).
// Whoever has a cgroup parent counts as limited: notices and counters are those of the container
// whose process was killed, whichever limit above it was reached.
// Memory of this class: which containers have a limit.
// Threads: loop only; a limit that is lowered is written on the thread pool, because the kernel
// reclaims meanwhile.
#pragma once

#include <map>
#include <memory>

#include "base/scope.h"
#include "isolators/cgroup_controllers.h"

namespace gantry {
class MemoryIsolator final : public ControllerIsolator {
 public:
  MemoryIsolator(asio::any_io_executor executor, ContainerCgroups& cgroups)
      : ControllerIsolator(cgroups), notice_(executor) {}
  std::string_view name() const override { return "memory"; }
  Co<Result<void>> recover(const std::vector<RecoveredContainer>& known) override;
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  bool watches(const ContainerId& id) const override { return limited_.contains(name_of(id)); }
  Co<Result<Limitation>> watch(ContainerId id) override;
  Co<std::optional<Limitation>> limitation_at_exit(ContainerId id) override;
  Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) override;
  Co<Result<void>> usage(ContainerId id, Usage& into) override;
  Co<Result<void>> cleanup(ContainerId id) override;

 private:
  struct Limit {
    Bytes bytes = 0;                 // 0: none of its own
    std::string cgroup_parent = {};  // whose limit may have been reached; empty: none
    bool has_notice = false;         // v1: registered with the eventfd
    bool was_hit = false;
    std::string to_string() const;
  };
  // A kernel file and what to write into it.
  struct Setting {
    std::string file, value, field;
  };

  bool is_v2() const { return cgroups_.is_v2("memory"); }
  Result<std::vector<Setting>> settings(const ResourceSpec& resources, Bytes current_limit) const;
  Result<void> check(const std::string& name, const std::vector<Setting>& settings) const;
  Result<uint64_t> oom_kills(const std::string& name) const;
  std::optional<Limitation> look(const std::string& name) const;
  void note_limits(const std::string& name, const ContainerSpec& spec);
  Result<void> register_notice(const std::string& name);  // v1; once for each
  // v1: waits for notices and marks those that were hit. One watcher does it for all.
  Co<Result<void>> listen();
  Co<Result<Limitation>> watch_v2(std::string name);

  std::map<std::string, Limit> limited_;
  UniqueFd eventfd_;  // v1, made with the first limit
  bool is_listening_ = false;
  uint64_t removals_ = 0;  // notices still to come of cgroups that we removed
  Event notice_;
};
}  // namespace gantry
