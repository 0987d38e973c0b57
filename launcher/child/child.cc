#include "launcher/child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <signal.h>

#include "launcher/child/raw.h"

namespace gantry::child {
void exit_now(int code) {
  for (;;) raw(SYS_exit_group, code);
}

namespace {
Outcome run_op(State& s, const Op& op) {
  const char* s1 = s.plan.text(op.s1);
  switch (op.kind) {
    case OpKind::kWaitSignal:
      return wait_signal(s, op);
    case OpKind::kBarrier:
      return barrier(s, op);
    case OpKind::kNextPlan:
      return next_plan(s, op);
    case OpKind::kExec:
      return exec(s, op);
    case OpKind::kSetsid:
      return check(raw(SYS_setsid));
    case OpKind::kControllingTty:
      return check(raw(SYS_ioctl, 0, 0x540E /* TIOCSCTTY */, 0));
    case OpKind::kParentDeathSignal:
      return parent_death_signal(s, op);
    case OpKind::kDuplicate:
      return duplicate(s, op);
    case OpKind::kCloseRange:
      return check(raw(SYS_close_range, op.a, ~0u, CLOSE_RANGE_CLOEXEC));
    case OpKind::kUmask:
      return check(raw(SYS_umask, op.a));
    case OpKind::kNice:
      return nice_value(op);
    case OpKind::kScheduler:
      return scheduler();
    case OpKind::kAffinity:
      return check(raw(SYS_sched_setaffinity, 0, op.b, s1));
    case OpKind::kOomScoreAdj:
      return oom_score_adj(op);
    case OpKind::kSessionKeyring:
      return check(raw(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op.s1 != 0 ? s1 : nullptr));
    case OpKind::kPersonality:
      return personality(op);
    case OpKind::kRlimit:
      return rlimit(s, op);
    case OpKind::kJoinCgroup:
      return join_cgroup(s, op);
    case OpKind::kUnshare:
      return check(raw(SYS_unshare, op.a));
    case OpKind::kSetns:
      return check(raw(SYS_setns, s.fds[op.fd], op.a));
    case OpKind::kLoopbackUp:
      return loopback_up();
    case OpKind::kHostname:
      return check(raw(SYS_sethostname, s1, length(s1)));
    case OpKind::kDomainname:
      return check(raw(SYS_setdomainname, s1, length(s1)));
    case OpKind::kSysctl:
      return sysctl(s, op);
    case OpKind::kPropagation:
      return propagation(s, op);
    case OpKind::kRootBind:
      return root_bind(s, op);
    case OpKind::kRootOverlay:
      return root_overlay(s, op);
    case OpKind::kRootHost:
      return root_host(s);
    case OpKind::kStagingArea:
      return staging_area(s, op);
    case OpKind::kMoveStaged:
      return move_staged(s, op);
    case OpKind::kMountFs:
      return mount_fs(s, op);
    case OpKind::kBind:
      return bind(s, op);
    case OpKind::kMkdir:
      return make_directory(s, op);
    case OpKind::kMakeNode:
      return make_node(s, op);
    case OpKind::kSymlink:
      return symbolic_link(s, op);
    case OpKind::kWriteFile:
      return write_file(s, op);
    case OpKind::kPivotRoot:
      return pivot_root(s);
    case OpKind::kMaskPath:
      return mask_path(s, op);
    case OpKind::kReadonlyPath:
      return readonly_path(s, op);
    case OpKind::kReadonlyRoot:
      return readonly_root(s);
    case OpKind::kChdir:
      return change_directory(s, op);
    case OpKind::kGroups:
      return groups(s, op);
    case OpKind::kGid:
      return gid(op);
    case OpKind::kUid:
      return uid(op);
    case OpKind::kBoundingSet:
      return bounding_set(op);
    case OpKind::kCapabilities:
      return capabilities(op);
    case OpKind::kAmbient:
      return ambient(op);
    case OpKind::kNoNewPrivileges:
      return no_new_privileges();
    case OpKind::kSeccomp:
      return seccomp(s, op);
    case OpKind::kTerminal:
      return terminal(s, op);
    case OpKind::kFork:
      return fork_child(s, op);
    case OpKind::kNone:
    case OpKind::kMapIds:
    case OpKind::kCount:
      break;
  }
  return fail(ENOSYS);
}

[[noreturn]] void report_failure(const State& s, const Op& op, const Outcome& outcome) {
  const ChildReport report = {s.op_index, static_cast<uint16_t>(op.kind), 0, outcome.error,
                              outcome.substep};
  raw(SYS_write, s.report_fd, &report, sizeof report);
  exit_now(kExitFailed);
}
}  // namespace

void run(Start& start) {
  // ORDER: dispositions before the mask, or a signal that waits would run a handler of the parent's
  // in the child.
  if (start.reset_signals) reset_signals();
  const uint64_t no_signals = 0;
  raw(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, sizeof no_signals);
  // Pipes of other containers must not stay open in a child that waits for its signal.
  if (start.close_from >= 0) raw(SYS_close_range, start.close_from, ~0u, 0);
  // Modes of what ops make are exact; kUmask sets the command's.
  raw(SYS_umask, 0);
  relocate(&start.plan);
  State s{start.plan, start.fds, start.parent_pidfd, start.fds[start.plan.header->report_fd]};
  if (start.cgroup_directory >= 0) {
    RawFd procs(raw(SYS_openat, start.cgroup_directory, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0));
    const int64_t rc = procs.ok() ? raw(SYS_write, procs.get(), "0", 1) : -procs.error();
    if (rc < 0) report_failure(s, {.kind = OpKind::kJoinCgroup}, fail(rc));
  }
  for (; s.op_index < s.plan.header->op_count; ++s.op_index) {
    const Op& op = s.plan.ops[s.op_index];
    const Outcome outcome = static_cast<int32_t>(s.op_index) == start.inject_op
                                ? fail(start.inject_errno)
                                : run_op(s, op);
    if (outcome.error != 0 && (op.flags & kOpOptional) == 0) report_failure(s, op, outcome);
    if (s.is_replaced) s.is_replaced = false, s.op_index = ~0u;
  }
  exit_now(kExitFailed);  // a checked plan ends with kExec, which does not come back
}
}  // namespace gantry::child
