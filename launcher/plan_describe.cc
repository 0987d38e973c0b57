// Names of a plan's steps, for people: the child reports an index, the parent says what it was.
#include <sys/resource.h>

#include "launcher/plan.h"

namespace gantry {
namespace {
struct Named {
  OpKind kind;
  const char* verb;      // "mount"
  const char* relation;  // between s1 and s2; nullptr: s1 alone; "": no object
};
constexpr Named kNames[] = {
    {OpKind::kWaitSignal, "wait for the signal to start", ""},
    {OpKind::kBarrier, "wait for the parent's step", ""},
    {OpKind::kNextPlan, "wait for the rest of the launch", ""},
    {OpKind::kExec, "exec", nullptr},
    {OpKind::kSetsid, "start a session", ""},
    {OpKind::kControllingTty, "take the controlling terminal", ""},
    {OpKind::kParentDeathSignal, "set the parent-death signal", ""},
    {OpKind::kDuplicate, "place standard descriptor", "#a"},
    {OpKind::kCloseRange, "mark descriptors close-on-exec", ""},
    {OpKind::kUmask, "set the umask", ""},
    {OpKind::kNice, "set nice to", "#a"},
    {OpKind::kScheduler, "reset the scheduler", ""},
    {OpKind::kAffinity, "set the cpu affinity", ""},
    {OpKind::kOomScoreAdj, "set oom_score_adj to", "#a"},
    {OpKind::kSessionKeyring, "join a session keyring", ""},
    {OpKind::kPersonality, "set the personality", ""},
    {OpKind::kRlimit, "set rlimit", "#rlimit"},
    {OpKind::kJoinCgroup, "join a cgroup", ""},
    {OpKind::kUnshare, "unshare namespaces", ""},
    {OpKind::kSetns, "join a namespace", ""},
    {OpKind::kLoopbackUp, "bring the loopback interface up", ""},
    {OpKind::kHostname, "set hostname", nullptr},
    {OpKind::kDomainname, "set domainname", nullptr},
    {OpKind::kSysctl, "set sysctl", " to "},
    {OpKind::kMapIds, "map ids", ""},
    {OpKind::kPropagation, "set mount propagation of", nullptr},
    {OpKind::kRootBind, "bind the root", nullptr},
    {OpKind::kRootOverlay, "mount the root overlay", nullptr},
    {OpKind::kRootHost, "use the host's root", ""},
    {OpKind::kStagingArea, "make the staging area", nullptr},
    {OpKind::kMoveStaged, "mount", " on "},
    {OpKind::kMountFs, "mount", " on "},
    {OpKind::kBind, "bind", " on "},
    {OpKind::kMkdir, "make directory", nullptr},
    {OpKind::kMakeNode, "make device node", nullptr},
    {OpKind::kSymlink, "make a link to", " at "},
    {OpKind::kWriteFile, "write file", nullptr},
    {OpKind::kPivotRoot, "pivot to the root", ""},
    {OpKind::kMaskPath, "mask", nullptr},
    {OpKind::kReadonlyPath, "make read-only", nullptr},
    {OpKind::kReadonlyRoot, "make the root read-only", ""},
    {OpKind::kChdir, "change to working directory", nullptr},
    {OpKind::kGroups, "set supplementary groups", ""},
    {OpKind::kGid, "set gid", "#a"},
    {OpKind::kUid, "set uid", "#a"},
    {OpKind::kBoundingSet, "drop capabilities from the bounding set", ""},
    {OpKind::kCapabilities, "set capabilities", ""},
    {OpKind::kAmbient, "raise ambient capabilities", ""},
    {OpKind::kNoNewPrivileges, "set no_new_privs", ""},
    {OpKind::kSeccomp, "load the seccomp filter", ""},
    {OpKind::kTerminal, "make the terminal", ""},
    {OpKind::kFork, "enter the pid namespace", ""},
};
static_assert(std::size(kNames) == static_cast<size_t>(OpKind::kCount) - 1);

constexpr const char* kRlimitNames[] = {
    "cpu",     "fsize", "data",  "stack",      "core",     "rss",  "nproc",  "nofile",
    "memlock", "as",    "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"};

std::string rlimit_name(uint64_t resource) {
  return resource < std::size(kRlimitNames) ? kRlimitNames[resource] : cat("number ", resource);
}
}  // namespace

std::string LaunchPlan::describe(uint32_t op_index) const {
  if (op_index >= ops().size()) return cat("step ", op_index);
  const Op& op = ops()[op_index];
  const Named* named = nullptr;
  for (const Named& n : kNames) {
    if (n.kind == op.kind) named = &n;
  }
  if (named == nullptr) return cat("step ", op_index);
  std::string_view relation = named->relation == nullptr ? "" : named->relation;
  if (relation == "#a") return cat(named->verb, " ", static_cast<int64_t>(op.a));
  if (relation == "#rlimit") {
    return cat(named->verb, " ", rlimit_name(op.a), " to ", op.b, ":", op.c);
  }
  if (named->relation != nullptr && relation.empty()) return named->verb;
  std::string out = cat(named->verb, " ", op.s1 != 0 ? string(op.s1) : "a handed-in tree");
  if (op.s2 != 0 && !relation.empty()) out += cat(relation, string(op.s2));
  return out;
}
}  // namespace gantry
