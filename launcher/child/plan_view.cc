#include "launcher/child/plan_view.h"

#include "launcher/child/child.h"

#include <sched.h>

namespace gantry::child {
namespace {
constexpr uint32_t kMaxOps = 4096;
constexpr uint32_t kMaxStrings = 1u << 18;
constexpr uint64_t kAllowedCloneFlags =
    CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;

// What an op kind needs, one letter each. f: a descriptor; 1, 2, 3: that string; B: s1 is a blob of
// b bytes; C: s2 is; L: s1 is a list ended by an empty string; O: s3 is a list of pairs, or none.
struct Needs {
  OpKind kind;
  const char* letters;
};
constexpr Needs kNeeds[] = {
    {OpKind::kWaitSignal, "f"}, {OpKind::kBarrier, "f"},      {OpKind::kExec, "1"},
    {OpKind::kNextPlan, "f"},   {OpKind::kStagingArea, "1"},  {OpKind::kMoveStaged, "12"},
    {OpKind::kDuplicate, "f"},  {OpKind::kAffinity, "B"},     {OpKind::kJoinCgroup, "f"},
    {OpKind::kSetns, "f"},      {OpKind::kHostname, "1"},     {OpKind::kDomainname, "1"},
    {OpKind::kSysctl, "12"},    {OpKind::kPropagation, "1"},  {OpKind::kRootOverlay, "L"},
    {OpKind::kMountFs, "12O"},  {OpKind::kBind, "2"},         {OpKind::kMkdir, "1"},
    {OpKind::kMakeNode, "1"},   {OpKind::kSymlink, "12"},     {OpKind::kWriteFile, "1C"},
    {OpKind::kMaskPath, "1"},   {OpKind::kReadonlyPath, "1"}, {OpKind::kChdir, "1"},
    {OpKind::kGroups, "B"},     {OpKind::kSeccomp, "B"},      {OpKind::kTerminal, "f"},
    {OpKind::kFork, "f"},
};

const char* needs_of(OpKind kind) {
  for (const Needs& n : kNeeds) {
    if (n.kind == kind) return n.letters;
  }
  return "";
}

// The end of a list that begins at `at`: the offset of its final empty string, or 0 when it leaves
// the arena.
uint32_t list_end(const char* arena, uint32_t arena_bytes, uint32_t at) {
  while (at < arena_bytes && arena[at] != '\0') {
    while (at < arena_bytes && arena[at] != '\0') ++at;
    ++at;
  }
  return at < arena_bytes ? at : 0;
}

// Name and value in turn: values may be empty, an empty name ends the list.
bool pairs_end(const char* arena, uint32_t arena_bytes, uint32_t at) {
  while (at < arena_bytes && arena[at] != '\0') {
    for (int half = 0; half < 2; ++half) {
      while (at < arena_bytes && arena[at] != '\0') ++at;
      ++at;
    }
  }
  return at < arena_bytes;
}

const char* check_blob(const PlanHeader& h, uint32_t offset, uint64_t bytes) {
  if (bytes > h.arena_bytes || offset > h.arena_bytes - bytes) return "a blob leaves the arena";
  return nullptr;
}

const char* check_sizes(const Op& op) {
  switch (op.kind) {
    case OpKind::kGroups:
      return op.b % 4 == 0 && op.b <= uint64_t{65536} * 4 ? nullptr
                                                          : "a list of groups has an odd size";
    case OpKind::kSeccomp:
      return op.b % 8 == 0 && op.b > 0 && op.b <= uint64_t{4096} * 8 && op.s1 % 8 == 0
                 ? nullptr
                 : "a filter has a wrong size or place";
    case OpKind::kAffinity:
      return op.b > 0 && op.b <= 1024 ? nullptr : "a cpu mask has a wrong size";
    case OpKind::kDuplicate:
      return op.a <= 2 || (op.a >= kFirstInheritedFd && op.a < kFirstInheritedFd + kMaxInheritedFds)
                 ? nullptr
                 : "a descriptor may only become 0, 1, 2, or one of a helper's";
    case OpKind::kRootBind:
      return op.s1 != 0 || op.fd >= 0 ? nullptr : "a root needs a source";
    case OpKind::kBind:
      return op.s1 != 0 || op.fd >= 0 ? nullptr : "a bind needs a source";
    case OpKind::kRootOverlay:
      return (op.s2 == 0) == (op.s3 == 0) ? nullptr : "upper and work belong together";
    default:
      return nullptr;
  }
}

const char* check_op(const PlanHeader& h, const char* arena, const Op& op) {
  if (op.kind == OpKind::kNone || op.kind >= OpKind::kCount) return "unknown op";
  if (op.fd < -1 || op.fd >= static_cast<int32_t>(h.fd_count)) return "a descriptor is not there";
  if (op.s1 >= h.arena_bytes || op.s2 >= h.arena_bytes || op.s3 >= h.arena_bytes) {
    return "a text leaves the arena";
  }
  for (const char* need = needs_of(op.kind); *need != '\0'; ++need) {
    const char* wrong = nullptr;
    switch (*need) {
      case 'f':
        wrong = op.fd < 0 ? "a descriptor is missing" : nullptr;
        break;
      case '1':
        wrong = op.s1 == 0 ? "a text is missing" : nullptr;
        break;
      case '2':
        wrong = op.s2 == 0 ? "a text is missing" : nullptr;
        break;
      case 'B':
        wrong = check_blob(h, op.s1, op.b);
        break;
      case 'C':
        wrong = check_blob(h, op.s2, op.b);
        break;
      case 'L':
        wrong = op.s1 == 0 || list_end(arena, h.arena_bytes, op.s1) <= op.s1
                    ? "a list is empty or does not end"
                    : nullptr;
        break;
      case 'O':
        wrong =
            op.s3 == 0 || pairs_end(arena, h.arena_bytes, op.s3) ? nullptr : "a list does not end";
        break;
      default:
        break;
    }
    if (wrong != nullptr) return wrong;
  }
  return check_sizes(op);
}

const char* check_strings(const uint64_t* offsets, uint32_t count, uint32_t arena_bytes) {
  for (uint32_t i = 0; i < count; ++i) {
    if (offsets[i] == 0 || offsets[i] >= arena_bytes) return "an argument leaves the arena";
  }
  return offsets[count] == 0 ? nullptr : "arguments do not end";
}
}  // namespace

const char* check_plan(void* bytes, size_t size, PlanView* view) {
  char* base = static_cast<char*>(bytes);
  PlanHeader* h = static_cast<PlanHeader*>(bytes);
  if (size < sizeof(PlanHeader) || size > kMaxPlanBytes) return "wrong size";
  if (h->magic != kPlanMagic) return "not a plan";
  if (h->version != kPlanVersion) return "a version this launcher does not know";
  if (h->total_bytes != size) return "cut short";
  if (h->op_count == 0 || h->op_count > kMaxOps || h->argc > kMaxStrings || h->envc > kMaxStrings ||
      h->fd_count > kMaxPlanFds) {
    return "a count is out of range";
  }
  const size_t ops_at = sizeof(PlanHeader);
  const size_t argv_at = ops_at + h->op_count * sizeof(Op);
  const size_t envp_at = argv_at + (h->argc + size_t{1}) * sizeof(uint64_t);
  const size_t arena_at = envp_at + (h->envc + size_t{1}) * sizeof(uint64_t);
  if (h->arena_offset != arena_at || arena_at >= size || h->arena_bytes != size - arena_at) {
    return "its parts do not fit";
  }
  const char* arena = base + arena_at;
  // The last byte makes every text that begins inside end inside.
  if (arena[0] != '\0' || arena[h->arena_bytes - 1] != '\0') return "the arena is open";
  if ((h->clone_flags & ~kAllowedCloneFlags) != 0) return "a clone flag is not allowed";
  const int32_t fds = static_cast<int32_t>(h->fd_count);
  if (h->report_fd < -1 || h->report_fd >= fds || h->cgroup_fd < -1 || h->cgroup_fd >= fds ||
      h->pid_namespace_fd < -1 || h->pid_namespace_fd >= fds) {
    return "a descriptor is not there";
  }
  view->header = h;
  view->ops = reinterpret_cast<const Op*>(base + ops_at);
  view->argv = reinterpret_cast<uint64_t*>(base + argv_at);
  view->envp = reinterpret_cast<uint64_t*>(base + envp_at);
  view->arena = arena;
  for (uint32_t i = 0; i < h->op_count; ++i) {
    if (const char* wrong = check_op(*h, arena, view->ops[i])) return wrong;
  }
  const OpKind last = view->ops[h->op_count - 1].kind;
  if (last == OpKind::kExec && h->argc == 0) return "a command is missing";
  if (last != OpKind::kExec && last != OpKind::kNextPlan) return "it does not end with exec";
  if (const char* wrong = check_strings(view->argv, h->argc, h->arena_bytes)) return wrong;
  return check_strings(view->envp, h->envc, h->arena_bytes);
}

void relocate(PlanView* view) {
  uint64_t* const tables[] = {view->argv, view->envp};
  for (uint64_t* table : tables) {
    for (uint64_t* at = table; *at != 0; ++at) {
      *at = reinterpret_cast<uint64_t>(view->arena + *at);
    }
  }
}
}  // namespace gantry::child
