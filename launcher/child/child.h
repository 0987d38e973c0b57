// What runs between clone and exec: one loop over the ops of a plan.
//
// Role: the clone's side of a launch, in gantry-launcher's children and in gantry-runtime's.
// Lifetime: from clone to exec or _exit; it never returns. Single-threaded, in a copy of its
// parent's memory: no allocation, no locks, no stdio, no errno, raw system calls only (style 3.11).
// Failure: {op, kind, errno, substep} on the report pipe, then exit 127. Paths of the container are
// resolved once, with openat2 below a descriptor of its root, and used by descriptor.
#pragma once

#include "launcher/child/plan_view.h"

namespace gantry::child {
struct Start {
  PlanView plan;               // checked; in memory the child may write to
  const int* fds = nullptr;    // the plan's slots as descriptor numbers
  int parent_pidfd = -1;       // the cloner's own pidfd; -1: unknown
  int close_from = -1;         // everything from here on is the parent's own and closed at once
  int cgroup_directory = -1;   // v2 cgroup still to be joined: the clone could not do it
  bool reset_signals = false;  // the parent may have handlers or ignored signals
  // Tests only: this op fails with this errno before it does anything.
  int32_t inject_op = -1;
  int32_t inject_errno = 0;
};

// Numbers that kDuplicate may give to what a helper program (CRIU) inherits beyond 0, 1 and 2: no
// descriptor of the launch itself has one, and they alone stay open at the exec.
inline constexpr uint64_t kFirstInheritedFd = 400;
inline constexpr uint64_t kMaxInheritedFds = 128;

// Exit codes of a child that did not exec. Nobody's truth: the report says what happened.
inline constexpr int kExitFailed = 127;
inline constexpr int kExitNoSignal = 126;  // end-of-file where a byte was awaited; parent died

[[noreturn]] void run(Start& start);

// ---- Between the files of this library ---------------------------------------------------------

// The result of an op: error 0 is success, else an errno and where in the op it happened.
struct Outcome {
  int32_t error = 0;
  uint32_t substep = 0;
};
inline Outcome ok() { return {}; }
inline Outcome fail(int64_t error, Substep at = Substep::kWhole, uint32_t index = 0) {
  return {static_cast<int32_t>(error < 0 ? -error : error), static_cast<uint32_t>(at) | index << 8};
}
inline Outcome check(int64_t result, Substep at = Substep::kWhole) {
  return result < 0 ? fail(result, at) : ok();
}

// What ops leave for later ops.
struct State {
  PlanView plan;
  const int* fds;
  int parent_pidfd;
  int report_fd;
  uint32_t op_index = 0;
  bool is_replaced = false;        // kNextPlan has put another plan in place: begin with its first
  int root = -1;                   // O_PATH or tree descriptor of the container's root
  int staging = -1;                // the staging area
  int empty_tree = -1;             // the one read-only empty tmpfs of masked directories
  int null_device = -1;            // the verified /dev/null of masked files
  int null_spare = -1;             // a detached clone of it, made and not used yet
  int private_proc = -1;           // a procfs of our own, not attached anywhere
  bool cwd_moved = false;          // an op used the working directory as its target
  bool is_closed = false;          // close_all() has run
  bool has_helper_fds = false;     // kDuplicate gave some of kFirstInheritedFd …
  const Op* file_limit = nullptr;  // RLIMIT_NOFILE, set when no op needs a descriptor any more
  // The last directory something was made in: /dev for a dozen nodes and links.
  char parent_path[64] = {};
  int parent_fd = -1;
};

[[noreturn]] void exit_now(int code);
// No descriptor but 0, 1, 2 and the report's from here on, and the command's RLIMIT_NOFILE.
Outcome close_all(State& s);

// ops_process.cc
Outcome wait_signal(State& s, const Op& op);
Outcome next_plan(State& s, const Op& op);
Outcome barrier(State& s, const Op& op);
Outcome parent_death_signal(State& s, const Op& op);
Outcome fork_child(State& s, const Op& op);
Outcome duplicate(State& s, const Op& op);
Outcome nice_value(const Op& op);
Outcome scheduler();
Outcome oom_score_adj(const Op& op);
Outcome personality(const Op& op);
Outcome rlimit(State& s, const Op& op);
Outcome exec(State& s, const Op& op);
// ops_namespace.cc
Outcome join_cgroup(State& s, const Op& op);
Outcome loopback_up();
Outcome sysctl(State& s, const Op& op);
// ops_root.cc
Outcome propagation(State& s, const Op& op);
Outcome root_bind(State& s, const Op& op);
Outcome root_overlay(State& s, const Op& op);
Outcome root_host(State& s);
Outcome staging_area(State& s, const Op& op);
Outcome move_staged(State& s, const Op& op);
Outcome pivot_root(State& s);
Outcome readonly_root(State& s);
Outcome change_directory(State& s, const Op& op);
// The container's root, or the mount namespace's own where no op has named one; -errno.
int64_t root_of(State& s);
// ops_terminal.cc
Outcome terminal(State& s, const Op& op);
// ops_mount.cc
Outcome mount_fs(State& s, const Op& op);
Outcome bind(State& s, const Op& op);
Outcome mask_path(State& s, const Op& op);
Outcome readonly_path(State& s, const Op& op);
// ops_files.cc
Outcome make_directory(State& s, const Op& op);
Outcome make_node(State& s, const Op& op);
Outcome symbolic_link(State& s, const Op& op);
Outcome write_file(State& s, const Op& op);
// ops_identity.cc
Outcome groups(State& s, const Op& op);
Outcome gid(const Op& op);
Outcome uid(const Op& op);
Outcome bounding_set(const Op& op);
Outcome capabilities(const Op& op);
Outcome ambient(const Op& op);
Outcome no_new_privileges();
Outcome seccomp(State& s, const Op& op);
}  // namespace gantry::child
