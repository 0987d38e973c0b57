#include <algorithm>
#include <errno.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <seccomp.h>

#include <set>

#include "api/types/container_spec.h"
#include "isolators/seccomp_bpf.h"
#include "isolators/seccomp_profile.h"

namespace gantry {
namespace {
constexpr uint32_t kX64 = AUDIT_ARCH_X86_64, kI386 = AUDIT_ARCH_I386;
constexpr uint64_t kSysAdmin = uint64_t{1} << 21;
constexpr uint32_t kEperm = SECCOMP_RET_ERRNO | EPERM, kEnosys = SECCOMP_RET_ERRNO | ENOSYS;
const std::vector<uint32_t> kArches = {kX64, kI386};

SeccompFilter compile(uint64_t capabilities, X32 x32 = X32::no) {
  auto filter = compile_seccomp(default_seccomp_profile(), capabilities, x32);
  EXPECT_TRUE(filter.has_value()) << filter.error().to_string();
  return std::move(*filter);
}

uint32_t ask(const BpfProgram& program, uint32_t arch, int nr, uint64_t a0 = 0, uint64_t a1 = 0) {
  seccomp_data data{};
  data.arch = arch;
  data.nr = nr;
  data.args[0] = a0;
  data.args[1] = a1;
  auto answer = run_filter(program, data);
  EXPECT_TRUE(answer.has_value());
  return answer ? *answer : 0;
}

int number(std::string_view name, uint32_t arch = kX64) {
  const auto numbers = syscall_numbers(name);
  EXPECT_TRUE(numbers.has_value()) << name;
  return arch == kX64 ? numbers->x86_64 : numbers->i386;
}

// What the profile's text means for a call without argument rules.
uint32_t meaning(std::string_view name, uint64_t capabilities) {
  for (const SeccompRule& rule : default_seccomp_profile().rules) {
    const bool is_named = std::ranges::find(rule.names, name) != rule.names.end();
    const bool applies = (rule.needs_capabilities & ~capabilities) == 0 &&
                         (rule.unless_capabilities & capabilities) == 0;
    if (is_named && applies && rule.args.empty()) {
      return rule.action == SCMP_ACT_ALLOW ? SECCOMP_RET_ALLOW : rule.action;
    }
  }
  return kEperm;
}

TEST(DefaultSeccompProfile, EveryKnownCallIsInOnePlaceOrNewer) {
  std::set<std::string_view> allowed, grouped, forbidden;
  for (const SeccompRule& rule : default_seccomp_profile().rules) {
    for (const std::string& name : rule.names) {
      (rule.args.empty() && rule.needs_capabilities == 0 && rule.unless_capabilities == 0 ? allowed
                                                                                          : grouped)
          .insert(name);
    }
  }
  for (const std::string& name : default_seccomp_profile().known) forbidden.insert(name);
  for (const auto& [name, numbers] : all_syscall_numbers()) {
    const int places = static_cast<int>(allowed.contains(name)) +
                       static_cast<int>(grouped.contains(name)) +
                       static_cast<int>(forbidden.contains(name));
    const bool is_newer = numbers.x86_64 > 466;
    EXPECT_EQ(places, is_newer ? 0 : 1) << name;
  }
  EXPECT_EQ(allowed.size(), 363u) << "a call was allowed to everybody, or taken away: on purpose?";
}

TEST(DefaultSeccompProfile, AnswersAsItsTextSaysForEveryCallAndArchitecture) {
  for (uint64_t capabilities :
       {default_capabilities().bounding, uint64_t{0}, kSysAdmin, UINT64_MAX}) {
    const SeccompFilter filter = compile(capabilities);
    for (const auto& [name, numbers] : all_syscall_numbers()) {
      if (name == "clone" || name == "personality" || name == "socket") continue;
      const uint32_t expected = numbers.x86_64 > 466 ? kEnosys : meaning(name, capabilities);
      for (uint32_t arch : kArches) {
        const int nr = number(name, arch);
        if (nr >= 0) EXPECT_EQ(ask(filter.compacted, arch, nr), expected) << name << " " << arch;
      }
    }
  }
}

TEST(DefaultSeccompProfile, KnownDangersAreRefusedAndNewCallsAreNotThere) {
  const BpfProgram program = compile(default_capabilities().bounding).compacted;
  for (const char* name : {"mount", "bpf", "keyctl", "io_uring_setup", "userfaultfd", "kexec_load",
                           "perf_event_open", "open_by_handle_at", "unshare", "setns", "fsopen",
                           "pivot_root", "init_module", "add_key", "request_key", "swapon"}) {
    EXPECT_EQ(ask(program, kX64, number(name)), kEperm) << name;
    EXPECT_EQ(ask(program, kI386, number(name, kI386)), kEperm) << name;
  }
  EXPECT_EQ(ask(program, kX64, number("clone3")), kEnosys);
  for (uint32_t arch : kArches) {
    for (int nr : {467, 469, 470, 1000, 0x3fffffff, INT32_MAX, -1}) {
      EXPECT_EQ(ask(program, arch, nr), kEnosys) << nr;
    }
    // Later than libseccomp 2.5.4, by number.
    for (const char* name : {"cachestat", "fchmodat2", "map_shadow_stack", "futex_wait", "mseal",
                             "statmount", "removexattrat"}) {
      EXPECT_EQ(ask(program, arch, number(name, arch)), uint32_t{SECCOMP_RET_ALLOW}) << name;
    }
    EXPECT_EQ(ask(program, arch, number("lsm_set_self_attr", arch)), kEperm);
  }
  // x32 is not there: no way around by its bit.
  EXPECT_EQ(ask(program, kX64, 0x40000000 | number("read")), kEnosys);
  EXPECT_EQ(ask(program, AUDIT_ARCH_AARCH64, 63), uint32_t{SECCOMP_RET_KILL_THREAD});
}

TEST(DefaultSeccompProfile, ArgumentsOfSocketPersonalityAndClone) {
  const BpfProgram program = compile(default_capabilities().bounding).compacted;
  for (uint32_t arch : kArches) {
    const int socket = number("socket", arch);
    for (uint64_t family = 0; family < 64; ++family) {
      const bool is_open = family < 46 && family != 38 && family != 40;
      const uint32_t expected = is_open ? uint32_t{SECCOMP_RET_ALLOW} : kEperm;
      EXPECT_EQ(ask(program, arch, socket, family), expected) << family;
      // The kernel looks at 32 bits: so must the filter.
      EXPECT_EQ(ask(program, arch, socket, family | uint64_t{1} << 32), expected) << family;
    }
    const int personality = number("personality", arch);
    for (uint64_t value : {0x0u, 0x8u, 0x20000u, 0x20008u, 0xffffffffu}) {
      EXPECT_EQ(ask(program, arch, personality, value), uint32_t{SECCOMP_RET_ALLOW}) << value;
    }
    for (uint64_t value : {0x1u, 0x9u, 0x40000u, 0x20001u, 0xfffffffeu}) {
      EXPECT_EQ(ask(program, arch, personality, value), kEperm) << value;
    }
    const int clone = number("clone", arch);
    EXPECT_EQ(ask(program, arch, clone, 0x3d0f00), uint32_t{SECCOMP_RET_ALLOW});  // a thread
    for (uint64_t flag : {0x00020000u, 0x02000000u, 0x04000000u, 0x08000000u, 0x10000000u,
                          0x20000000u, 0x40000000u}) {
      EXPECT_EQ(ask(program, arch, clone, flag | 17), kEperm) << flag;
    }
  }
  const BpfProgram admin = compile(kSysAdmin).compacted;
  EXPECT_EQ(ask(admin, kX64, number("clone"), 0x10000000), uint32_t{SECCOMP_RET_ALLOW});
  EXPECT_EQ(ask(admin, kX64, number("clone3")), uint32_t{SECCOMP_RET_ALLOW});
}

// The proof: every number at which an answer may change, and its neighbours, every architecture,
// the arguments at their borders.
TEST(CompactedFilter, AnswersLikeTheExportedOneEverywhere) {
  for (X32 x32 : {X32::no, X32::yes}) {
    for (uint64_t capabilities : {default_capabilities().bounding, kSysAdmin, UINT64_MAX}) {
      const SeccompFilter filter = compile(capabilities, x32);
      auto equal = check_equal(filter.exported, filter.compacted, kArches, filter.overrides);
      EXPECT_TRUE(equal.has_value()) << equal.error().to_string();
      RecordProperty("exported", static_cast<int>(filter.exported.size()));
      RecordProperty("compacted", static_cast<int>(filter.compacted.size()));
      EXPECT_LT(filter.compacted.size(), filter.exported.size() / 2);
      if (x32 == X32::no) EXPECT_LT(filter.compacted.size(), 330u);
      // And all the numbers there are, one by one.
      for (uint32_t arch : kArches) {
        for (int nr = 0; nr < 1024; ++nr) {
          for (uint64_t a0 : {uint64_t{0}, uint64_t{38}, uint64_t{0x10000000}}) {
            uint32_t expected = ask(filter.exported, arch, nr, a0);
            for (const SeccompOverride& o : filter.overrides) {
              const auto n = static_cast<uint32_t>(nr);
              if (o.arch == arch && o.first <= n && n <= o.last) expected = o.action;
            }
            ASSERT_EQ(ask(filter.compacted, arch, nr, a0), expected) << arch << " " << nr;
          }
        }
      }
    }
  }
}

TEST(CompactedFilter, CheckEqualSeesADifference) {
  const SeccompFilter filter = compile(default_capabilities().bounding);
  int seen = 0;
  for (size_t i = 0; i < filter.compacted.size(); ++i) {
    BpfProgram wrong = filter.compacted;
    if (wrong[i].code != (BPF_RET | BPF_K)) continue;
    wrong[i].k ^= 1u << 16;
    if (!check_equal(filter.exported, wrong, kArches, filter.overrides)) ++seen;
  }
  EXPECT_GT(seen, 0);
}

TEST(RunFilter, RefusesWhatTheKernelWouldRefuse) {
  const seccomp_data data{};
  EXPECT_FALSE(run_filter({}, data).has_value());
  EXPECT_FALSE(run_filter({{BPF_JMP | BPF_JA, 0, 0, 0xfffffff0}}, data).has_value());
  EXPECT_FALSE(run_filter({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 64}}, data).has_value());
  EXPECT_FALSE(run_filter({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 3}}, data).has_value());
  EXPECT_FALSE(run_filter({{BPF_ALU | BPF_ADD | BPF_K, 0, 0, 3}}, data).has_value());
  EXPECT_FALSE(compact_filter({{BPF_ALU | BPF_ADD | BPF_K, 0, 0, 3}}, {kX64}, {}).has_value());
}

TEST(SeccompJson, DockersFormatIsUnderstood) {
  auto profile = parse_seccomp_json(R"({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
      {"names": ["read", "write", "exit_group", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
      {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3, "excludes": {"caps": ["CAP_KILL"]}},
      {"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
      {"names": ["dup2"], "action": "SCMP_ACT_ALLOW",
       "args": [{"index": 0, "value": 4, "op": "SCMP_CMP_GT"}]}
    ]})");
  ASSERT_TRUE(profile.has_value()) << profile.error().to_string();
  auto filter = compile_seccomp(*profile, 0, X32::no);
  ASSERT_TRUE(filter.has_value()) << filter.error().to_string();
  const BpfProgram& program = filter->compacted;
  EXPECT_EQ(filter->skipped, std::vector<std::string>{"no_such_call"});
  EXPECT_EQ(ask(program, kX64, number("read")), uint32_t{SECCOMP_RET_ALLOW});
  EXPECT_EQ(ask(program, kX64, number("mount")), kEnosys);
  EXPECT_EQ(ask(program, kX64, number("kill")), SECCOMP_RET_ERRNO | 3u);
  EXPECT_EQ(ask(program, kX64, number("getpid")), kEnosys);
  EXPECT_EQ(ask(program, kX64, number("dup2"), 5), uint32_t{SECCOMP_RET_ALLOW});
  EXPECT_EQ(ask(program, kX64, number("dup2"), 4), kEnosys);
  EXPECT_TRUE(check_equal(filter->exported, program, kArches, filter->overrides).has_value());
}

TEST(SeccompJson, WhatIsWrongIsAnErrorAndNeverUnconfined) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "empty"},
      {"  \n", "empty"},
      {"[]", "object"},
      {"{", "JSON"},
      {"{}", "defaultAction"},
      {R"({"defaultAction": "SCMP_ACT_NOTHING"})", "unknown action"},
      {R"({"defaultAction": "SCMP_ACT_NOTIFY"})", "listener"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000})", "defaultErrnoRet"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_X"]})", "flags"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}})", "syscalls"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]})",
       "names"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"]}]})", "action"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"],
          "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_EVERYTHING"]}}]})",
       "capability"},
      {R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"],
          "action": "SCMP_ACT_ALLOW", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]})",
       "index"},
  };
  for (const auto& [json, word] : cases) {
    auto parsed = parse_seccomp_json(json);
    ASSERT_FALSE(parsed.has_value()) << json;
    EXPECT_NE(parsed.error().to_string().find(word), std::string::npos)
        << parsed.error().to_string();
  }
  EXPECT_FALSE(parse_seccomp_json(std::string(1000000, '[')).has_value());
  // A refusal of a call nobody knows cannot be kept, so it is not accepted.
  auto denies = parse_seccomp_json(R"({"defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]})");
  ASSERT_TRUE(denies.has_value());
  EXPECT_TRUE(compile_seccomp(*denies, 0, X32::no).error().is(Errc::unsupported));
}
}  // namespace
}  // namespace gantry
