// The cgroup isolators: one class and one .cc each. `cgroups` makes and removes the directories,
// the others write their controller's limits into them, on v1 and v2 alike, and read them back.
//
// State: what ContainerCgroups keeps, plus what each class says. Nothing is written to disk but the
// freezer's kind (CgroupsIsolator::record). Threads: loop only.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/scope.h"
#include "isolators/container_cgroups.h"
#include "isolators/device_program.h"
#include "launcher/isolator.h"

namespace gantry {
class ControllerIsolator : public Isolator {
 protected:
  explicit ControllerIsolator(ContainerCgroups& cgroups) : cgroups_(cgroups) {}
  static std::string name_of(const ContainerId& id) { return ContainerCgroups::name_of(id); }
  ContainerCgroups& cgroups_;
};

// ROOT/containers/ID in every hierarchy. Recovery removes directories no known container has.
class CgroupsIsolator final : public ControllerIsolator {
 public:
  explicit CgroupsIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "cgroups"; }
  bool is_for_nested() const override { return true; }
  Co<Result<void>> recover(const std::vector<RecoveredContainer>& known) override;
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> isolate(const LaunchContext& context, const ProcessRef& child) override;
  std::string record(const ContainerId& id) const override;
  Co<Result<void>> cleanup(ContainerId id) override;
};

// cpu.shares, cpu.cfs_*; v2: cpu.weight, cpu.max. Usage also from cpuacct.
class CpuIsolator final : public ControllerIsolator {
 public:
  explicit CpuIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "cpu"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) override;
  Co<Result<void>> usage(ContainerId id, Usage& into) override;
  // Docker's and runc's curve from shares to weights (2 … 262144 to 1 … 10000, 1024 to 100).
  static uint64_t weight_of_shares(uint64_t shares);

 private:
  Result<void> apply(const std::string& name, const ResourceSpec& resources);
  Result<void> apply_quota(const std::string& name, const ResourceSpec& resources);
};

class CpusetIsolator final : public ControllerIsolator {
 public:
  explicit CpusetIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "cpuset"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) override;
  // "0-1,3" as a set; Errc::invalid for anything else. At most 8192.
  static Result<std::set<uint32_t>> parse_list(std::string_view text);

 private:
  Result<void> apply(const std::string& name, const ResourceSpec& resources);
};

class PidsIsolator final : public ControllerIsolator {
 public:
  explicit PidsIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "pids"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) override;
  Co<Result<void>> usage(ContainerId id, Usage& into) override;

 private:
  Result<void> apply(const std::string& name, const ResourceSpec& resources);
};

// Default deny, as Docker: the common nodes, and mknod of any (opening is another matter). v1: the
// list, in place since the directory was made. v2: a BPF program per set of rules, loaded once.
class DevicesIsolator final : public ControllerIsolator {
 public:
  explicit DevicesIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "devices"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;

  static const std::vector<DeviceRule>& default_rules();
  // What a new v1 cgroup gets (CgroupOptions::v1_defaults).
  static std::vector<CgroupDefault> v1_defaults();
  static std::string to_v1(const DeviceRule& rule);  // "c 1:3 rwm"

 private:
  Result<void> apply_v1(const LaunchContext& context, const std::vector<DeviceRule>& extra);
  Result<void> apply_v2(const LaunchContext& context, const std::vector<DeviceRule>& extra);
  std::optional<DeviceProgram> default_program_;  // v2, the default rules alone
};

// blkio (v1) or io (v2): weight and throttles.
class IoIsolator final : public ControllerIsolator {
 public:
  explicit IoIsolator(ContainerCgroups& cgroups) : ControllerIsolator(cgroups) {}
  std::string_view name() const override { return "io"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> update(ContainerId id, const ResourceSpec& resources) override;
  Co<Result<void>> usage(ContainerId id, Usage& into) override;

 private:
  Result<void> apply(const std::string& name, const ResourceSpec& resources);
  Result<void> apply_weight(const std::string& name, uint16_t weight);
  Result<void> apply_throttles(const std::string& name, const ResourceSpec& resources);
};
}  // namespace gantry
