// A device policy as a BPF_PROG_TYPE_CGROUP_DEVICE program (cgroup v2 has no devices.list).
#pragma once

#include <cstdint>
#include <vector>

#include "api/types/container_spec.h"
#include "base/result.h"
#include "base/unique_fd.h"

struct bpf_insn;

namespace gantry {
class DeviceProgram {
 public:
  // Rules in order: a later one wins; no match is a refusal.
  static Result<DeviceProgram> load(const std::vector<DeviceRule>& rules);
  static std::vector<bpf_insn> compile(const std::vector<DeviceRule>& rules);

  // For the processes in this v2 cgroup and below, with those already there (BPF_F_ALLOW_MULTI: all
  // must allow). The program stays attached until the cgroup is removed. Read back.
  Result<void> attach(int cgroup_fd) const;

 private:
  explicit DeviceProgram(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};
}  // namespace gantry
