// The ops each isolator contributes, without a child.
#include "isolators/plan_isolators.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>

#include "isolators/cgroup_controllers.h"
#include "isolators/seccomp_isolator.h"

namespace gantry {
namespace {
ContainerId id_of(const char* text) { return *ContainerId::parse(text); }

template <class T>
T run(Co<T> task) {
  asio::io_context loop;
  std::optional<T> out;
  asio::co_spawn(
      loop,
      [](Co<T> inner, std::optional<T>& to) -> Co<void> { to.emplace(co_await std::move(inner)); }(
                                                std::move(task), out),
      [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
      });
  loop.run();
  return std::move(*out);
}

class Fixture : public ::testing::Test {
 protected:
  Fixture() {
    spec.root = DirectoryRoot{"/root-of-it"};
    spec.process.args = {"true"};
    rootfs.kind = Rootfs::Kind::directory;
    rootfs.directory = "/root-of-it";
  }
  LaunchContext context() {
    return {.id = id_of("a"),
            .cgroup_name = "a",
            .spec = spec,
            .credentials = credentials,
            .rootfs = rootfs,
            .sandbox = "/sandbox",
            .runtime_dir = "/run",
            .hostname = "box",
            .staging_dir = "/run/staging"};
  }
  // The isolator's ops in a sealed plan; an error's sentence otherwise.
  Result<LaunchPlan> plan_of(Isolator& isolator) {
    const LaunchContext c = context();
    LaunchPlan::Builder builder;
    GANTRY_TRY(run(isolator.prepare(c, builder)));
    builder.set_args({"true"});
    builder.add(Stage::exec, {.kind = OpKind::kExec, .s1 = builder.str("true")});
    return std::move(builder).seal();
  }
  static std::vector<std::string> words(const LaunchPlan& plan) {
    std::vector<std::string> out;
    for (uint32_t i = 0; i + 1 < plan.ops().size(); ++i) out.push_back(plan.describe(i));
    return out;
  }
  std::string error_of(Isolator& isolator) {
    auto plan = plan_of(isolator);
    return plan ? "" : plan.error().to_string();
  }

  ContainerSpec spec;
  Credentials credentials;
  Rootfs rootfs;
};

TEST_F(Fixture, NamespacesAreCloneFlagsAndTheCgroupOneIsUnsharedFirst) {
  NamespacesIsolator isolator;
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  EXPECT_EQ(plan->header().clone_flags,
            uint64_t{CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET});
  ASSERT_EQ(plan->ops().size(), 4u);
  EXPECT_EQ(plan->ops()[0].kind, OpKind::kUnshare);
  EXPECT_EQ(plan->ops()[0].a, uint64_t{CLONE_NEWCGROUP});
  EXPECT_EQ(plan->ops()[1].kind, OpKind::kLoopbackUp);
  EXPECT_EQ(plan->ops()[2].kind, OpKind::kHostname);

  spec.network.mode = NetworkSpec::Mode::host;
  spec.namespaces.cgroup.kind = NamespaceChoice::Kind::host;
  spec.namespaces.uts.kind = NamespaceChoice::Kind::host;
  plan = plan_of(isolator);
  EXPECT_EQ(plan->header().clone_flags, uint64_t{CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC});
  EXPECT_EQ(plan->ops().size(), 1u);
  spec.hostname = "other";
  EXPECT_NE(error_of(isolator).find("hostname"), std::string::npos);
}

TEST_F(Fixture, BadHostnamesAndTheHostsMountNamespaceAreRefused) {
  NamespacesIsolator isolator;
  spec.namespaces.mount.kind = NamespaceChoice::Kind::host;
  EXPECT_NE(error_of(isolator).find("namespaces.mount"), std::string::npos);
  spec.namespaces.mount = {.kind = NamespaceChoice::Kind::join, .path = "/proc/self/ns/mnt"};
  EXPECT_NE(error_of(isolator).find("namespaces.mount"), std::string::npos);
}

TEST_F(Fixture, MountsAreMadeAndMaskedAsideBeforeTheRootIsThere) {
  RootfsIsolator isolator;
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  std::vector<OpKind> kinds;
  for (const Op& op : plan->ops()) kinds.push_back(op.kind);
  const auto at = [&](OpKind kind) { return std::ranges::find(kinds, kind) - kinds.begin(); };
  EXPECT_LT(at(OpKind::kStagingArea), at(OpKind::kMountFs));
  EXPECT_LT(at(OpKind::kMountFs), at(OpKind::kMakeNode));
  EXPECT_LT(at(OpKind::kMakeNode), at(OpKind::kReadonlyPath));
  EXPECT_LT(at(OpKind::kReadonlyPath), at(OpKind::kMaskPath));
  EXPECT_LT(at(OpKind::kMaskPath), at(OpKind::kRootBind));
  EXPECT_LT(at(OpKind::kRootBind), at(OpKind::kMoveStaged));
  EXPECT_LT(at(OpKind::kMoveStaged), at(OpKind::kPivotRoot));
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kMoveStaged), 3);
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kMakeNode), 6);
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kReadonlyRoot), 0);
  for (const Op& op : plan->ops()) {
    if (op.kind == OpKind::kMountFs) EXPECT_TRUE(op.flags & kOpNoSymlinks) << plan->string(op.s2);
  }
  // It is raced against the kernel: no more than these.
  EXPECT_LE(plan->ops().size(), 55u);

  spec.security.masked_paths = false;
  spec.security.read_only_root = true;
  plan = plan_of(isolator);
  kinds.clear();
  for (const Op& op : plan->ops()) kinds.push_back(op.kind);
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kMaskPath), 0);
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kReadonlyPath), 0);
  EXPECT_EQ(std::ranges::count(kinds, OpKind::kReadonlyRoot), 1);
}

TEST_F(Fixture, OverlayListsItsLayersTopFirst) {
  RootfsIsolator isolator;
  rootfs = {};
  rootfs.kind = Rootfs::Kind::overlay;
  EXPECT_NE(error_of(isolator).find("no layer"), std::string::npos);
  rootfs.lowers = {"/top", "/base"};
  rootfs.upper = "/upper";
  rootfs.work = "/work";
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  const auto op = std::ranges::find(plan->ops(), OpKind::kRootOverlay, &Op::kind);
  ASSERT_NE(op, plan->ops().end());
  EXPECT_EQ(plan->string(op->s1), "/top");
  EXPECT_EQ(plan->string(op->s1 + 5), "/base");
  EXPECT_EQ(plan->string(op->s1 + 11), "");
  EXPECT_EQ(plan->string(op->s2), "/upper");
  EXPECT_EQ(plan->string(op->s3), "/work");
}

TEST_F(Fixture, VolumesGoBelowTheSpecialMountsOrBehindThemWithoutLinks) {
  VolumesIsolator isolator;
  MountSpec data, device;
  data.source = device.source = "/srv";
  data.destination = "/data/deep";
  data.read_only = true;
  device.destination = "/dev/fuse";
  spec.mounts = {device, data};
  spec.sandbox_mount = "/mnt/mesos/sandbox";
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  ASSERT_EQ(plan->ops().size(), 4u);
  EXPECT_EQ(plan->string(plan->ops()[0].s2), "/data/deep");
  EXPECT_EQ(plan->ops()[0].a & 1, 1u);
  EXPECT_EQ(plan->string(plan->ops()[1].s2), "/mnt/mesos/sandbox");
  EXPECT_EQ(plan->string(plan->ops()[2].s2), "/dev/fuse");
  EXPECT_TRUE(plan->ops()[2].flags & kOpNoSymlinks);
  rootfs.kind = Rootfs::Kind::host;
  plan = plan_of(isolator);
  for (const Op& op : plan->ops()) {
    if (op.kind == OpKind::kBind) {
      EXPECT_EQ(op.b & (kBindMakeFile | kBindMakeDirectory), 0u) << "nothing is made on the host";
    }
  }
  spec.mounts[0].source = "relative";
  EXPECT_NE(error_of(isolator).find("source"), std::string::npos);
}

TEST_F(Fixture, DestinationsThatAreNotAllowedSayWhy) {
  const std::string long_name = "/" + std::string(256, 'x');
  for (const char* bad :
       {"", "data", "/", "//", "/./", "/a/../b", "/..", "/proc", "/proc/", "//proc", "/proc/self",
        "/proc/sys", "/proc/1/root", "/sys", "/./sys/.", "/dev", long_name.c_str()}) {
    auto checked = VolumesIsolator::check_destination(bad);
    ASSERT_FALSE(checked.has_value()) << bad;
    EXPECT_TRUE(checked.error().is(Errc::invalid)) << bad;
  }
  for (const char* good : {"/data", "/a//b/", "/proc/meminfo", "/proc/cpuinfo", "/procx",
                           "/sys/fs/cgroup", "/dev/shm", "/a/..b"}) {
    EXPECT_TRUE(VolumesIsolator::check_destination(good).has_value()) << good;
  }
  EXPECT_FALSE(VolumesIsolator::check_destination(std::string_view("/a\0b", 4)).has_value());
}

TEST_F(Fixture, SysctlsBelongToANamespaceOfTheContainersOwn) {
  using Kind = NamespaceChoice::Kind;
  const std::pair<const char*, const char*> good[] = {
      {"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
      {"net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"},
      {"kernel.shmmax", "kernel/shmmax"},
      {"kernel.msgmni", "kernel/msgmni"},
      {"fs.mqueue.msg_max", "fs/mqueue/msg_max"},
      {"kernel.domainname", "kernel/domainname"}};
  for (const auto& [name, path] : good) {
    auto found = SysctlsIsolator::path_of(name, spec);
    ASSERT_TRUE(found.has_value()) << name;
    EXPECT_EQ(*found, path);
  }
  for (const char* bad :
       {"kernel.core_pattern", "kernel.hostname", "vm.swappiness", "fs.file-max", "kernel.shm",
        "kernel.shmmaxx", "", ".", "net", "net..ipv4", "net.", "/net/ipv4", "net/../kernel/panic",
        "net/./x", "net.ipv4.ip_forward\n", "net.ipv4 x", "net.a+kernel.core_pattern", "nét.x"}) {
    EXPECT_FALSE(SysctlsIsolator::path_of(bad, spec).has_value()) << bad;
  }
  spec.network.mode = NetworkSpec::Mode::host;
  spec.namespaces.ipc.kind = Kind::host;
  spec.namespaces.uts.kind = Kind::host;
  for (const auto& [name, path] : good) {
    EXPECT_FALSE(SysctlsIsolator::path_of(name, spec).has_value()) << name;
  }
  spec.network.mode = NetworkSpec::Mode::none;
  spec.security.sysctls = {{"net.ipv4.ip_forward", "1\nx"}};
  SysctlsIsolator isolator;
  EXPECT_NE(error_of(isolator).find("one line"), std::string::npos);
}

TEST_F(Fixture, CapabilityOpsAreInTheOrderTheKernelNeeds) {
  CapabilitiesIsolator isolator;
  credentials.uid = credentials.gid = 7;
  credentials.groups = {8, 9};
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  const OpKind expected[] = {OpKind::kBoundingSet,
                             OpKind::kGroups,
                             OpKind::kGid,
                             OpKind::kUid,
                             OpKind::kCapabilities,
                             OpKind::kAmbient,
                             OpKind::kParentDeathSignal,
                             OpKind::kNoNewPrivileges,
                             OpKind::kExec};
  ASSERT_EQ(plan->ops().size(), std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(plan->ops()[i].kind, expected[i]);
  EXPECT_EQ(plan->ops()[1].b, 8u);
  credentials.uid = UINT32_MAX;
  EXPECT_NE(error_of(isolator).find("no id"), std::string::npos);
  credentials.uid = 0;
  spec.security.capabilities.effective |= uint64_t{1} << 40;
  EXPECT_NE(error_of(isolator).find("capabilities.effective"), std::string::npos);
  EXPECT_EQ(CapabilitiesIsolator::names_of(uint64_t{1} << 40 | 1),
            "CAP_CHOWN, CAP_CHECKPOINT_RESTORE");
}

TEST_F(Fixture, EveryRlimitIsSetOnceAndTheRequestWins) {
  ProcessDefaultsIsolator isolator;
  spec.process.rlimits = {{RLIMIT_NOFILE, 5, 6}};
  spec.process.oom_score_adj = 500;
  spec.process.umask = 077;
  auto plan = plan_of(isolator);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  std::set<uint64_t> seen;
  for (const Op& op : plan->ops()) {
    if (op.kind == OpKind::kOomScoreAdj) EXPECT_EQ(op.a, 500u);
    if (op.kind == OpKind::kUmask) EXPECT_EQ(op.a, 077u);
    if (op.kind != OpKind::kRlimit) continue;
    EXPECT_TRUE(seen.insert(op.a).second) << op.a;
    EXPECT_LE(op.b, op.c);
    if (op.a == RLIMIT_NOFILE) EXPECT_EQ(op.c, 6u);
  }
  EXPECT_EQ(seen.size(), size_t{RLIM_NLIMITS});
}

TEST_F(Fixture, FilterGoesLastOrBeforeTheIdsChange) {
  asio::io_context loop;
  SeccompIsolator isolator(loop.get_executor());
  auto first = isolator.program_for(spec.security);
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  EXPECT_EQ(*isolator.program_for(spec.security), *first) << "made once";
  CapabilitiesIsolator capabilities;
  for (bool no_new_privileges : {true, false}) {
    spec.security.no_new_privileges = no_new_privileges;
    const LaunchContext c = context();
    LaunchPlan::Builder builder;
    ASSERT_TRUE(run(capabilities.prepare(c, builder)).has_value());
    ASSERT_TRUE(run(isolator.prepare(c, builder)).has_value());
    builder.set_args({"true"});
    builder.add(Stage::exec, {.kind = OpKind::kExec, .s1 = builder.str("true")});
    auto plan = std::move(builder).seal();
    ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
    const auto ops = plan->ops();
    const auto filter = std::ranges::find(ops, OpKind::kSeccomp, &Op::kind) - ops.begin();
    const auto sets = std::ranges::find(ops, OpKind::kCapabilities, &Op::kind) - ops.begin();
    EXPECT_EQ(filter > sets, no_new_privileges);
  }
  spec.security.seccomp.mode = SeccompSpec::Mode::unconfined;
  EXPECT_EQ(plan_of(isolator)->ops().size(), 1u);
  spec.security.seccomp.mode = SeccompSpec::Mode::profile;
  EXPECT_NE(error_of(isolator).find("seccomp profile"), std::string::npos);
}

TEST(CpuWeight, FollowsTheCurveThroughItsThreePoints) {
  EXPECT_EQ(CpuIsolator::weight_of_shares(2), 1u);
  EXPECT_EQ(CpuIsolator::weight_of_shares(1024), 100u);
  EXPECT_EQ(CpuIsolator::weight_of_shares(262144), 10000u);
  uint64_t before = 0;
  for (uint64_t shares = 2; shares <= 262144; shares *= 2) {
    EXPECT_GE(CpuIsolator::weight_of_shares(shares), before);
    before = CpuIsolator::weight_of_shares(shares);
  }
}

TEST(CpusetList, IsParsedAsTheKernelWritesIt) {
  EXPECT_EQ(*CpusetIsolator::parse_list("0-2,5\n"), (std::set<uint32_t>{0, 1, 2, 5}));
  EXPECT_TRUE(CpusetIsolator::parse_list("")->empty());
  for (const char* bad : {"a", "1-", "-1", "3-1", "1,,2", "99999", "0-4294967295", "1 2"}) {
    EXPECT_FALSE(CpusetIsolator::parse_list(bad).has_value()) << bad;
  }
}
}  // namespace
}  // namespace gantry
