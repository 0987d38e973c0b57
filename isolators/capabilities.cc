#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>

#include "api/types/capability_names.h"
#include "isolators/plan_isolators.h"

namespace gantry {
namespace {
// What this process can hand on: in its bounding set. (The launcher was started by one like us.)
uint64_t own_bounding_set() {
  uint64_t out = 0;
  for (int capability = 0; capability < 64; ++capability) {
    const int there = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (there < 0) break;  // behind the last one this kernel knows
    if (there == 1) out |= uint64_t{1} << capability;
  }
  return out;
}
}  // namespace

CapabilitiesIsolator::CapabilitiesIsolator() : own_(own_bounding_set()) {}

std::string CapabilitiesIsolator::names_of(uint64_t set) {
  std::string out;
  for (size_t i = 0; i < 64; ++i) {
    if ((set >> i & 1) == 0) continue;
    out += out.empty() ? "CAP_" : ", CAP_";
    out += i < std::size(kCapabilityNames) ? std::string(kCapabilityNames[i]) : cat(i);
  }
  return out;
}

Result<void> CapabilitiesIsolator::check(const CapabilitySpec& wanted) const {
  const struct {
    uint64_t too_much;
    const char* what;
  } rules[] = {
      {wanted.bounding & ~own_, "bounding: this executor itself lacks "},
      {(wanted.permitted | wanted.inheritable) & ~own_, "permitted: this executor itself lacks "},
      {wanted.effective & ~wanted.permitted, "effective: not in the permitted set: "},
      {wanted.ambient & ~(wanted.permitted & wanted.inheritable),
       "ambient: not in both the permitted and the inheritable set: "},
  };
  for (const auto& rule : rules) {
    if (rule.too_much == 0) continue;
    return Error(Errc::invalid, cat("capabilities.", rule.what, names_of(rule.too_much)));
  }
  return {};
}

// ORDER: as capabilities(7) demands: the bounding set while SETPCAP is there, groups and gid while
// SETGID is, uid (permitted kept), then the sets themselves. A change of ids clears the death
// signal.
Co<Result<void>> CapabilitiesIsolator::prepare(const LaunchContext& context,
                                               LaunchPlan::Builder& plan) {
  const CapabilitySpec& wanted = context.spec.security.capabilities;
  GANTRY_CO_TRY(check(wanted));
  const Credentials& user = context.credentials;
  if (user.uid == UINT32_MAX || user.gid == UINT32_MAX) {
    co_return Error(Errc::invalid, "user: 4294967295 is no id");
  }
  plan.add(Stage::credentials, {.kind = OpKind::kBoundingSet, .a = wanted.bounding});
  plan.add(Stage::credentials,
           {.kind = OpKind::kGroups,
            .s1 = plan.blob(user.groups.data(), user.groups.size() * sizeof(gid_t)),
            .b = user.groups.size() * sizeof(gid_t)});
  plan.add(Stage::credentials, {.kind = OpKind::kGid, .a = user.gid});
  plan.add(Stage::credentials, {.kind = OpKind::kUid, .a = user.uid});
  plan.add(Stage::credentials, {.kind = OpKind::kCapabilities,
                                .a = wanted.effective,
                                .b = wanted.permitted,
                                .c = wanted.inheritable});
  plan.add(Stage::credentials, {.kind = OpKind::kAmbient, .a = wanted.ambient});
  // KERNEL: commit_creds clears the death signal where an id changed.
  if (user.uid != 0 || user.gid != 0) {
    plan.add(Stage::credentials, {.kind = OpKind::kParentDeathSignal, .a = SIGKILL});
  }
  if (context.spec.security.no_new_privileges) {
    plan.add(Stage::lockdown, {.kind = OpKind::kNoNewPrivileges});
  }
  co_return Result<void>();
}
}  // namespace gantry
