// The isolators that only contribute ops to the plan: one class and one .cc each. They keep no
// state per container and own nothing on the host; what they make lives and dies with the
// container's namespaces. Threads: loop only.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/isolator.h"

namespace gantry {
// Resets whatever the executor's starter could leak in: session, death signal, oom_score_adj, nice,
// scheduler, affinity, personality, keyring, rlimits, umask; signals are reset by the child always.
class ProcessDefaultsIsolator final : public Isolator {
 public:
  std::string_view name() const override { return "process_defaults"; }
  bool is_for_nested() const override { return true; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  // The documented defaults, before our own hard limits and the request are looked at.
  static const std::vector<Rlimit>& default_rlimits();
};

// pid, mount, uts, ipc, network at clone; cgroup by unshare after the last move; joins by setns.
class NamespacesIsolator final : public Isolator {
 public:
  std::string_view name() const override { return "namespaces"; }
  bool is_for_nested() const override { return true; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  // network mode and namespace choice together.
  static NamespaceChoice network_of(const ContainerSpec& spec);
};

// The root mount, /proc, /sys, /dev, masks and read-only paths, pivot_root.
class RootfsIsolator final : public Isolator {
 public:
  RootfsIsolator();
  std::string_view name() const override { return "rootfs"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  static const std::vector<std::string>& masked_paths();
  static const std::vector<std::string>& readonly_paths();

 private:
  void add_walls(LaunchPlan::Builder& plan, Stage stage) const;
  void add_mounts(const LaunchContext& context, LaunchPlan::Builder& plan) const;
  void add_host_mounts(const ContainerSpec& spec, LaunchPlan::Builder& plan) const;

  std::vector<std::string> thermal_paths_;  // one a cpu, where the host has them
};

// The user's mounts, and the sandbox.
class VolumesIsolator final : public Isolator {
 public:
  std::string_view name() const override { return "volumes"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  // Where nothing may be mounted; the message names the rule.
  static Result<void> check_destination(std::string_view destination);
};

// Namespaced sysctls, refused where their namespace is the host's.
class SysctlsIsolator final : public Isolator {
 public:
  std::string_view name() const override { return "sysctls"; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  // "net.ipv4.ip_forward" or "net/ipv4/ip_forward" to the path below /proc/sys, if it is one that
  // `spec`'s namespaces keep away from the host.
  static Result<std::string> path_of(std::string_view name, const ContainerSpec& spec);
};

// Groups, gid, uid, the five sets, no_new_privs.
class CapabilitiesIsolator final : public Isolator {
 public:
  CapabilitiesIsolator();
  std::string_view name() const override { return "capabilities"; }
  bool is_for_nested() const override { return true; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  static std::string names_of(uint64_t set);  // "CAP_CHOWN, CAP_KILL"

 private:
  Result<void> check(const CapabilitySpec& wanted) const;
  uint64_t own_;  // what this executor itself may give
};
}  // namespace gantry
