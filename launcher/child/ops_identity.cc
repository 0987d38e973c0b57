// Ids, capabilities, no_new_privs and seccomp: raw system calls, each for this thread alone, which
// is the only one.
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "launcher/child/child.h"
#include "launcher/child/raw.h"

namespace gantry::child {
Outcome groups(State& s, const Op& op) {
  const uint64_t count = op.b / 4;
  int64_t rc = raw(SYS_setgroups, count, s.plan.text(op.s1));
  if (rc < 0) return fail(rc);
  rc = raw(SYS_getgroups, 0, nullptr);
  return rc == static_cast<int64_t>(count) ? ok() : fail(EINVAL, Substep::kVerify);
}

Outcome gid(const Op& op) {
  int64_t rc = raw(SYS_setresgid, op.a, op.a, op.a);
  if (rc < 0) return fail(rc);
  uint32_t real, effective, saved;
  rc = raw(SYS_getresgid, &real, &effective, &saved);
  return rc == 0 && real == op.a && effective == op.a && saved == op.a
             ? ok()
             : fail(EINVAL, Substep::kVerify);
}

Outcome uid(const Op& op) {
  // KERNEL: leaving uid 0 clears the permitted set unless PR_SET_KEEPCAPS; kCapabilities decides
  // afterwards what stays.
  int64_t rc = raw(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
  if (rc < 0) return fail(rc);
  rc = raw(SYS_setresuid, op.a, op.a, op.a);
  if (rc < 0) return fail(rc);
  rc = raw(SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
  if (rc < 0) return fail(rc);
  uint32_t real, effective, saved;
  rc = raw(SYS_getresuid, &real, &effective, &saved);
  return rc == 0 && real == op.a && effective == op.a && saved == op.a
             ? ok()
             : fail(EINVAL, Substep::kVerify);
}

Outcome bounding_set(const Op& op) {
  for (uint32_t cap = 0; cap < 64; ++cap) {
    if ((op.a >> cap & 1) != 0) continue;
    int64_t rc = raw(SYS_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (rc == -EINVAL) break;  // behind the last one this kernel knows
    // KERNEL: it drops or it fails; reading back would be as many calls again.
    if (rc < 0) return fail(rc);
  }
  return ok();
}

Outcome capabilities(const Op& op) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct set[2], now[2];
  for (int half = 0; half < 2; ++half) {
    set[half].effective = static_cast<uint32_t>(op.a >> (32 * half));
    set[half].permitted = static_cast<uint32_t>(op.b >> (32 * half));
    set[half].inheritable = static_cast<uint32_t>(op.c >> (32 * half));
  }
  int64_t rc = raw(SYS_capset, &header, set);
  if (rc < 0) return fail(rc);
  rc = raw(SYS_capget, &header, now);
  if (rc < 0) return fail(rc, Substep::kVerify);
  for (int half = 0; half < 2; ++half) {
    if (now[half].effective != set[half].effective || now[half].permitted != set[half].permitted ||
        now[half].inheritable != set[half].inheritable) {
      return fail(EPERM, Substep::kVerify);
    }
  }
  return ok();
}

Outcome ambient(const Op& op) {
  int64_t rc = raw(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (rc < 0) return fail(rc);
  for (uint32_t cap = 0; cap < 64; ++cap) {
    if ((op.a >> cap & 1) == 0) continue;
    rc = raw(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    if (rc < 0) return fail(rc);
    if (raw(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) != 1) {
      return fail(EPERM, Substep::kVerify);
    }
  }
  return ok();
}

Outcome no_new_privileges() {
  int64_t rc = raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (rc < 0) return fail(rc);
  return raw(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? ok()
                                                              : fail(EINVAL, Substep::kVerify);
}

namespace {
// Whether an op behind this one still names a descriptor.
bool needs_descriptors(const State& s) {
  for (uint32_t i = s.op_index + 1; i < s.plan.header->op_count; ++i) {
    const Op& op = s.plan.ops[i];
    if (op.fd >= 0 || (op.kind == OpKind::kParentDeathSignal && op.a != 0)) return true;
  }
  return false;
}
}  // namespace

Outcome seccomp(State& s, const Op& op) {
  // ORDER: before the filter, which may forbid close_range and prlimit.
  if (!needs_descriptors(s)) {
    Outcome closed = close_all(s);
    if (closed.error != 0) return closed;
  }
  sock_fprog program;
  program.len = static_cast<unsigned short>(op.b / sizeof(sock_filter));
  program.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(s.plan.text(op.s1)));
  int64_t rc = raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, op.a, &program);
  return rc == 0 ? ok() : fail(rc > 0 ? EBUSY : rc);
}
}  // namespace gantry::child
