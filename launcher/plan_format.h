// The bytes of a launch plan: what executor, launcher and child agree on (launcher/plan.h builds
// it).
//
// Plain data only: the child's code and the launcher include this and nothing of the standard
// library. Layout of the memfd: PlanHeader, Op[op_count], argv and envp (each uint64_t[count + 1],
// arena offsets, relocated into pointers in place by the child, a zero at the end), arena. Offsets
// are from the beginning of the arena; 0 is "none" (the arena begins, and ends, with a NUL byte).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gantry {
inline constexpr uint32_t kPlanMagic = 0x4e414c50;  // "PLAN"
inline constexpr uint32_t kPlanVersion = 2;
inline constexpr size_t kMaxPlanBytes = 4u << 20;
inline constexpr size_t kMaxPlanFds = 200;

// One system call or one small fixed sequence of them. Fields: fd = slot in the plan's fd table or
// -1; s1, s2, s3 = arena offsets; a, b, c = numbers. Paths "in the root" are resolved with openat2
// RESOLVE_IN_ROOT below the container's root, before and after pivot alike.
enum class OpKind : uint16_t {
  // Control
  kNone = 0,
  kWaitSignal,  // fd: read one byte; end-of-file: exit quietly. Nothing of the command has run.
  kBarrier,     // a: number. Report {op, kind, 0, a} to the parent, then wait for one byte on `fd`
  kNextPlan,    // fd: a SEQPACKET socket. Reports as a barrier does, then receives the plan that
  // goes on from here: a memfd and the descriptors it names. End-of-file: exit quietly
  kExec,  // s1: program name (searched in PATH of the plan's envp when it has no '/')
  // Process
  kSetsid,
  kControllingTty,     // fd 0 becomes the controlling terminal
  kParentDeathSignal,  // a: signal (0 clears); then the parent's pidfd is polled: fd, or the
                       // back end's own when fd is -1
  kDuplicate,          // fd -> number a (0, 1, 2), without CLOEXEC
  kCloseRange,         // everything from a on becomes close-on-exec
  kUmask,              // a
  kNice,               // a (int)
  kScheduler,          // SCHED_OTHER, and ioprio none
  kAffinity,           // s1: blob, cpu mask of b bytes
  kOomScoreAdj,        // a (int)
  kSessionKeyring,     // s1: name; a new, empty one
  kPersonality,        // a
  kRlimit,             // a: resource, b: soft, c: hard; read back
  // Cgroups and namespaces
  kJoinCgroup,  // fd: an open `tasks` (v1) or `cgroup.procs` (v2) file; writes "0"
  kUnshare,     // a: CLONE_NEW… flags
  kSetns,       // fd, a: CLONE_NEW… type
  kLoopbackUp,  // `lo` of this network namespace
  kHostname,    // s1
  kDomainname,  // s1
  kSysctl,      // s1: path below /proc/sys, s2: value; through a procfs that is verified
  kMapIds,      // reserved for user namespaces
  // Root and mounts
  kPropagation,   // s1: path; a: MS_… flags for mount(2) (MS_REC | MS_PRIVATE …)
  kRootBind,      // s1: host path (or fd): its tree becomes the root (recursive if a)
  kRootOverlay,   // s1: lowerdirs separated by '\0' pairs, top first, ended by an empty one;
                  // s2: upperdir; s3: workdir (both 0: read-only view); a: OverlayFlags
  kRootHost,      // the host's own root: no pivot follows
  kStagingArea,   // s1: host path: an empty tmpfs there, for now the root of paths "in the root"
  kMoveStaged,    // s1: a mount made in the staging area, s2: target in the root
  kMountFs,       // s1: type, s2: target in the root, s3: options as name\0value\0…, ended by an
                  // empty name; a: MOUNT_ATTR_… set; b: mode of a target to be made (0: must exist)
  kBind,          // s1: host path, or fd; s2: target in the root; a: MOUNT_ATTR_… set;
                  // b: BindFlags; c: MS_ propagation (0: private)
  kMkdir,         // s1: path in the root, parents too; a: mode; b: uid << 32 | gid
  kMakeNode,      // s1: path in the root; a: mode with type; b: makedev; c: uid << 32 | gid
  kSymlink,       // s1: target text, s2: link path in the root
  kWriteFile,     // s1: path in the root (created 0644 or replaced), s2: blob of b bytes
  kPivotRoot,     // make it "/", drop the host's
  kMaskPath,      // s1: path in the root: a file gets /dev/null, a directory an empty read-only
                  // tmpfs (one shared by all); missing is fine
  kReadonlyPath,  // s1: path in the root: bind on itself, read-only, other flags kept; missing ok
  kReadonlyRoot,
  kChdir,  // s1; getcwd must be absolute afterwards (CVE-2024-21626)
  // Identity
  kGroups,        // s1: blob of b gid_t
  kGid,           // a: setresgid
  kUid,           // a: setresuid (capabilities kept: KEEPCAPS around it)
  kBoundingSet,   // a: mask to keep
  kCapabilities,  // a: effective, b: permitted, c: inheritable; read back
  kAmbient,       // a: mask to raise after clearing all
  kNoNewPrivileges,
  kSeccomp,  // s1: blob of b sock_filter; a: SECCOMP_FILTER_FLAG_…
  // Those that came later: numbers are the protocol's.
  kTerminal,  // fd: a SEQPACKET socket. A new pty of the root's /dev/pts, a rows and b columns,
              // owned
              // by c: its master is sent by the socket, then as kBarrier (kTerminalBarrier); the
              // slave becomes 0, 1 and 2
  kFork,      // what follows runs in a new child of this one's parent, in the pid namespace that a
              // kSetns before has chosen. It keeps `fd`, 0, 1, 2 and nothing else; this one reports
  // as kBarrier (kForkBarrier | the new one's pid) and exits 0; that one waits for a byte
  // on `fd`
  kCount,
};
// Numbers of barriers in reports.
inline constexpr uint32_t kTerminalBarrier = 1;
inline constexpr uint32_t kForkBarrier = 1u << 31;

enum BindFlags : uint64_t {
  kBindRecursive = 1,      // the whole tree
  kBindMakeFile = 2,       // a missing target is made as an empty file…
  kBindMakeDirectory = 4,  // …or as a directory; both: like the source
  kBindNoFollow = 8,
  kBindCoverLink = 16,  // a symbolic link as the target's last component (dangling or not) is
                        // covered by the mount, not followed
};

enum OverlayFlags : uint64_t {
  kOverlayVolatile = 1,   // no sync on unmount: for upper directories that die with the container
  kOverlayUserXattr = 2,  // whiteouts in user.overlay.*
};

struct Op {
  OpKind kind = OpKind::kNone;
  uint16_t flags = 0;  // OpFlags
  int32_t fd = -1;
  uint32_t s1 = 0, s2 = 0, s3 = 0;
  uint32_t reserved = 0;
  uint64_t a = 0, b = 0, c = 0;
};
static_assert(sizeof(Op) == 48);
enum OpFlags : uint16_t {
  kOpOptional = 1,    // failure is ignored (and not reported): a documented nicety of the host
  kOpNoSymlinks = 2,  // kMountFs, kBind: a symbolic link in the target is refused (ELOOP), as it is
                      // for proc and sysfs always (CVE-2019-19921)
};

struct PlanHeader {
  uint32_t magic = kPlanMagic;
  uint32_t version = kPlanVersion;
  uint32_t total_bytes = 0;
  uint32_t op_count = 0;
  uint32_t argc = 0;
  uint32_t envc = 0;
  uint32_t arena_offset = 0;
  uint32_t arena_bytes = 0;
  uint32_t fd_count = 0;
  int32_t cgroup_fd = -1;         // slot of the v2 cgroup the child is born in; -1: none
  uint64_t clone_flags = 0;       // CLONE_NEW… (never CLONE_NEWCGROUP)
  int32_t report_fd = -1;         // slot: write end of the report pipe; -1: the child has one
  int32_t pid_namespace_fd = -1;  // slot of a pid namespace (or pidfd) the child is born in
};

// Where in an op it failed (ChildReport::aux of a failure).
enum class Substep : uint32_t {
  kWhole,
  kCreate,     // fsopen and options
  kOption,     // + index of the option << 8
  kMount,      // fsmount, open_tree
  kTarget,     // the target or path in the root
  kMake,       // making a missing target
  kAttach,     // move_mount
  kAttribute,  // mount_setattr
  kSource,
  kVerify,  // what was set did not read back
};

// What the child writes to its report pipe when an op fails or reaches a barrier. End-of-file
// without a record: exec succeeded.
struct ChildReport {
  uint32_t op_index;
  uint16_t kind;
  uint16_t is_barrier;
  int32_t error;
  uint32_t aux;
};
static_assert(sizeof(ChildReport) == 16);
}  // namespace gantry
