#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "isolators/plan_isolators.h"

namespace gantry {
namespace {
constexpr uint64_t kMiB = 1u << 20;

// A default above our own hard limit becomes ours (it cannot be raised without CAP_SYS_RESOURCE;
// the executor warns of that once, at start); a requested one fails in the child, by name.
Rlimit within_own(Rlimit limit) {
  struct ::rlimit own{};
  if (::getrlimit(static_cast<__rlimit_resource>(limit.resource), &own) != 0) return limit;
  limit.hard = std::min<uint64_t>(limit.hard, own.rlim_max);
  limit.soft = std::min(limit.soft, limit.hard);
  return limit;
}

std::string every_cpu() {
  const long cpus = std::clamp(::sysconf(_SC_NPROCESSORS_CONF), 1024L, 8192L);
  return std::string(static_cast<size_t>(cpus + 63) / 64 * 8, '\xff');
}

void add_rlimits(const ProcessSpec& process, LaunchPlan::Builder& plan) {
  // Our own hard limits can only fall, and nobody lowers them while we run.
  static const std::vector<Rlimit>& possible = *[] {
    auto* out = new std::vector<Rlimit>;
    for (const Rlimit& limit : ProcessDefaultsIsolator::default_rlimits()) {
      out->push_back(within_own(limit));
    }
    return out;
  }();
  for (const Rlimit& value : possible) {
    const auto asked = std::ranges::find(process.rlimits, value.resource, &Rlimit::resource);
    const Rlimit& limit = asked == process.rlimits.end() ? value : *asked;
    plan.add(Stage::limits, {.kind = OpKind::kRlimit,
                             .a = static_cast<uint64_t>(limit.resource),
                             .b = limit.soft,
                             .c = limit.hard});
  }
}
}  // namespace

const std::vector<Rlimit>& ProcessDefaultsIsolator::default_rlimits() {
  // Linux' own for the first process, but: nofile as systemd (1024 soft, so that select(2) and
  // loops over all descriptors stay well), no core files unless asked, no limit of processes per
  // user (pids_limit is the container's).
  constexpr uint64_t kNone = RLIM_INFINITY;
  static const std::vector<Rlimit>& limits = *new std::vector<Rlimit>{
      {RLIMIT_CPU, kNone, kNone},
      {RLIMIT_FSIZE, kNone, kNone},
      {RLIMIT_DATA, kNone, kNone},
      {RLIMIT_STACK, 8 * kMiB, kNone},
      {RLIMIT_CORE, 0, kNone},
      {RLIMIT_RSS, kNone, kNone},
      {RLIMIT_NPROC, kNone, kNone},
      {RLIMIT_NOFILE, 1024, 524288},
      {RLIMIT_MEMLOCK, 8 * kMiB, 8 * kMiB},
      {RLIMIT_AS, kNone, kNone},
      {RLIMIT_LOCKS, kNone, kNone},
      {RLIMIT_SIGPENDING, kNone, kNone},
      {RLIMIT_MSGQUEUE, 819200, 819200},
      {RLIMIT_NICE, 0, 0},
      {RLIMIT_RTPRIO, 0, 0},
      {RLIMIT_RTTIME, kNone, kNone},
  };
  return limits;
}

Co<Result<void>> ProcessDefaultsIsolator::prepare(const LaunchContext& context,
                                                  LaunchPlan::Builder& plan) {
  const ProcessSpec& process = context.spec.process;
  plan.add(Stage::begin, {.kind = OpKind::kParentDeathSignal, .a = SIGKILL});
  plan.add(Stage::begin, {.kind = OpKind::kSetsid});

  plan.add(Stage::process,
           {.kind = OpKind::kOomScoreAdj,
            .a = static_cast<uint64_t>(static_cast<int64_t>(process.oom_score_adj.value_or(0)))});
  plan.add(Stage::process, {.kind = OpKind::kNice, .a = 0});
  plan.add(Stage::process, {.kind = OpKind::kScheduler});
  // Every cpu; the kernel takes those of the cpuset. 1024, or more where the host has more.
  static const std::string& mask = *new std::string(every_cpu());  // sysconf looks into /sys: 50 us
  plan.add(
      Stage::process,
      {.kind = OpKind::kAffinity, .s1 = plan.blob(mask.data(), mask.size()), .b = mask.size()});
  plan.add(Stage::process, {.kind = OpKind::kPersonality, .a = 0});
  // Without a name: a new one always (a name would join an existing keyring of that name).
  plan.add(Stage::process, {.kind = OpKind::kSessionKeyring});

  add_rlimits(process, plan);
  plan.add(Stage::limits, {.kind = OpKind::kUmask, .a = process.umask});
  // ORDER: the last ops but no_new_privs and the filter, which need not allow them then.
  plan.add(Stage::lockdown, {.kind = OpKind::kCloseRange, .a = 3});
  plan.add(Stage::lockdown, {.kind = OpKind::kParentDeathSignal, .a = 0});
  co_return Result<void>();
}
}  // namespace gantry
