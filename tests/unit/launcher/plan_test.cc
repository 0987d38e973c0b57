#include "launcher/plan.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <cstring>

#include "base/sys.h"
#include "launcher/child/plan_view.h"

namespace gantry {
namespace {
LaunchPlan::Builder small() {
  LaunchPlan::Builder b;
  b.set_args({"echo", "", "a b"});
  b.set_env({"PATH=/bin"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str("echo")});
  return b;
}

std::string bytes_of(const LaunchPlan& plan) {
  auto text = sys::read_file(cat("/proc/self/fd/", plan.memfd()));
  GANTRY_CHECK(text.has_value());
  return *text;
}

// What the validator says of a plan whose bytes were changed by `change`.
template <class Change>
std::string verdict(Change change) {
  auto plan = small().seal();
  GANTRY_CHECK(plan.has_value());
  std::string bytes = bytes_of(*plan);
  std::vector<uint64_t> copy(bytes.size() / 8 + 2);
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  size_t size = bytes.size();
  auto* base = reinterpret_cast<char*>(copy.data());
  change(*reinterpret_cast<PlanHeader*>(base), *reinterpret_cast<Op*>(base + sizeof(PlanHeader)),
         base, size);
  child::PlanView view;
  const char* wrong = child::check_plan(copy.data(), size, &view);
  return wrong == nullptr ? "" : wrong;
}

TEST(Plan, OpsGoByStageThenByOrderOfAdding) {
  auto b = small();
  b.add(Stage::lockdown, {.kind = OpKind::kNoNewPrivileges});
  b.add(Stage::begin, {.kind = OpKind::kSetsid});
  b.add(Stage::begin, {.kind = OpKind::kUmask, .a = 022});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_EQ(plan->ops().size(), 4u);
  EXPECT_EQ(plan->ops()[0].kind, OpKind::kSetsid);
  EXPECT_EQ(plan->ops()[1].kind, OpKind::kUmask);
  EXPECT_EQ(plan->ops()[2].kind, OpKind::kNoNewPrivileges);
  EXPECT_EQ(plan->ops()[3].kind, OpKind::kExec);
  EXPECT_EQ(plan->args(), (std::vector<std::string>{"echo", "", "a b"}));
}

TEST(Plan, IsSealedAgainstEveryChange) {
  auto plan = small().seal();
  ASSERT_TRUE(plan);
  EXPECT_EQ(::write(plan->memfd(), "x", 1), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(plan->memfd(), 1), -1);
  EXPECT_EQ(::fcntl(plan->memfd(), F_GET_SEALS) & F_SEAL_SEAL, F_SEAL_SEAL);
}

TEST(Plan, RelocatedArgumentsAreWhatWasSet) {
  auto plan = small().seal();
  ASSERT_TRUE(plan);
  std::string bytes = bytes_of(*plan);
  std::vector<uint64_t> copy(bytes.size() / 8 + 1);
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  child::PlanView view;
  ASSERT_EQ(child::check_plan(copy.data(), bytes.size(), &view), nullptr);
  child::relocate(&view);
  EXPECT_STREQ(reinterpret_cast<const char*>(view.argv[0]), "echo");
  EXPECT_STREQ(reinterpret_cast<const char*>(view.argv[1]), "");
  EXPECT_STREQ(reinterpret_cast<const char*>(view.argv[2]), "a b");
  EXPECT_EQ(view.argv[3], 0u);
  EXPECT_STREQ(reinterpret_cast<const char*>(view.envp[0]), "PATH=/bin");
  EXPECT_EQ(view.envp[1], 0u);
}

TEST(Plan, NulInAnArgumentIsRefused) {
  auto b = small();
  b.set_args({std::string("a\0b", 3)});
  auto plan = std::move(b).seal();
  ASSERT_FALSE(plan);
  EXPECT_TRUE(plan.error().is(Errc::invalid));
}

TEST(Plan, WithoutACommandIsRefused) {
  LaunchPlan::Builder b;
  EXPECT_TRUE(std::move(b).seal().error().is(Errc::invalid));
}

TEST(Plan, TooLargeIsRefused) {
  auto b = small();
  b.set_env({"BIG=" + std::string(kMaxPlanBytes, 'x')});
  auto plan = std::move(b).seal();
  ASSERT_FALSE(plan);
  EXPECT_TRUE(plan.error().is(Errc::invalid)) << plan.error().to_string();
}

// What a container of one image and one of another have in common.
LaunchPlan::Builder launch_of(const char* image, const char* option) {
  LaunchPlan::Builder b;
  b.add_clone_flags(CLONE_NEWPID);
  b.add(Stage::begin, {.kind = OpKind::kSetsid});
  b.add(Stage::cgroups,
        {.kind = OpKind::kJoinCgroup, .fd = b.fd(std::move(*sys::open("/dev/null", O_RDWR)))});
  b.add(Stage::staging, {.kind = OpKind::kStagingArea, .s1 = b.str("/run/staging")});
  b.add(Stage::staging, {.kind = OpKind::kMountFs,
                         .s1 = b.str("tmpfs"),
                         .s2 = b.str("/dev"),
                         .s3 = b.blob(option, std::strlen(option) + 1)});
  b.add(Stage::root, {.kind = OpKind::kRootBind, .s1 = b.str(image)});
  b.set_args({"true"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str("true")});
  return b;
}

TEST(Plan, PreludesAreEqualWhereverTheRestDiffers) {
  auto a = launch_of("/images/a", "noswap").prelude();
  auto b = launch_of("/images/somewhere/else", "noswap").prelude();
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->steps.size(), 3u);
  EXPECT_TRUE(*a == *b);
}

TEST(Plan, PreludesDifferByEveryTextNumberAndFlag) {
  auto base = launch_of("/images/a", "noswap").prelude();
  EXPECT_FALSE(*base == *launch_of("/images/a", "noswap2").prelude());
  auto flags = launch_of("/images/a", "noswap");
  flags.add_clone_flags(CLONE_NEWNET);
  EXPECT_FALSE(*base == *flags.prelude());
  auto number = launch_of("/images/a", "noswap");
  number.add(Stage::process, {.kind = OpKind::kNice, .a = 5});
  EXPECT_FALSE(*base == *number.prelude());
}

TEST(Plan, APreludeThatNamesADescriptorIsOneLaunchsAlone) {
  auto b = launch_of("/images/a", "noswap");
  b.add(Stage::namespaces, {.kind = OpKind::kSetns,
                            .fd = b.fd(std::move(*sys::open("/proc/self/ns/net", O_RDONLY))),
                            .a = CLONE_NEWNET});
  EXPECT_FALSE(b.prelude());
}

TEST(Plan, APreludeCopiedIsThePreludeItself) {
  auto prelude = launch_of("/images/a", "noswap").prelude();
  LaunchPlan::Builder copy;
  copy.add(*prelude);
  ASSERT_TRUE(copy.prelude());
  EXPECT_TRUE(*copy.prelude() == *prelude);
}

TEST(Plan, WithoutItsPreludeThereIsTheRestAndNoReportPipe) {
  auto b = launch_of("/images/a", "noswap");
  b.drop_prelude();
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->ops().size(), 2u);
  EXPECT_EQ(plan->header().clone_flags, 0u);
  EXPECT_EQ(plan->header().report_fd, -1);
}

TEST(Plan, StepsAreDescribedWithTheirObjects) {
  auto b = small();
  const char options[] = "";
  b.add(Stage::mounts, {.kind = OpKind::kMountFs,
                        .s1 = b.str("proc"),
                        .s2 = b.str("/proc"),
                        .s3 = b.blob(options, 1)});
  b.add(Stage::volumes, {.kind = OpKind::kBind, .s1 = b.str("/srv"), .s2 = b.str("/data")});
  b.add(Stage::limits, {.kind = OpKind::kRlimit, .a = RLIMIT_NOFILE, .b = 10, .c = 20});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->describe(0), "mount proc on /proc");
  EXPECT_EQ(plan->describe(1), "bind /srv on /data");
  EXPECT_EQ(plan->describe(2), "set rlimit nofile to 10:20");
  EXPECT_EQ(plan->describe(3), "exec echo");
  EXPECT_EQ(plan->describe(4), "step 4");
}

TEST(PlanCheck, RefusesWhatDoesNotFit) {
  using H = PlanHeader;
  EXPECT_EQ(verdict([](H&, Op&, char*, size_t&) {}), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.magic = 1; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { ++h.version; }), "");
  EXPECT_NE(verdict([](H&, Op&, char*, size_t& size) { --size; }), "");
  EXPECT_NE(verdict([](H&, Op&, char*, size_t& size) { size = 10; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.op_count = 0xffffffff; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.op_count = 0; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.argc = 0; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { ++h.envc; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.arena_bytes -= 1; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.fd_count = 1000; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.report_fd = 7; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.report_fd = -2; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.cgroup_fd = 9; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.pid_namespace_fd = -2; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.clone_flags = CLONE_NEWCGROUP; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char*, size_t&) { h.clone_flags = CLONE_VM; }), "");
  EXPECT_NE(verdict([](H&, Op& op, char*, size_t&) { op.kind = OpKind::kCount; }), "");
  EXPECT_NE(verdict([](H&, Op& op, char*, size_t&) { op.kind = OpKind::kSetsid; }), "");
  EXPECT_NE(verdict([](H&, Op& op, char*, size_t&) { op.s1 = 0; }), "");
  EXPECT_NE(verdict([](H&, Op& op, char*, size_t&) { op.s2 = 1u << 20; }), "");
  EXPECT_NE(verdict([](H&, Op& op, char*, size_t&) { op.fd = 5; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char* base, size_t&) { base[h.total_bytes - 1] = 'x'; }), "");
  EXPECT_NE(verdict([](H& h, Op&, char* base, size_t&) {
              auto* argv = reinterpret_cast<uint64_t*>(base + sizeof(H) + sizeof(Op));
              argv[0] = h.arena_bytes;
            }),
            "");
}

TEST(PlanCheck, RefusesBlobsAndListsThatLeaveTheArena) {
  auto with = [](const Op& op) {
    auto b = small();
    Op copy = op;
    if (copy.s1 == 1) copy.s1 = b.blob("x\0y", 3);
    if (copy.s3 == 1) copy.s3 = b.str("name");
    b.add(Stage::limits, copy);
    auto plan = std::move(b).seal();
    return plan ? std::string() : plan.error().to_string();
  };
  EXPECT_NE(with({.kind = OpKind::kGroups, .s1 = 1, .b = 4096}), "");
  EXPECT_NE(with({.kind = OpKind::kGroups, .s1 = 1, .b = 3}), "");
  EXPECT_EQ(with({.kind = OpKind::kGroups, .s1 = 1, .b = 0}), "");
  EXPECT_NE(with({.kind = OpKind::kSeccomp, .s1 = 1, .b = 1u << 20}), "");
  EXPECT_NE(with({.kind = OpKind::kSeccomp, .s1 = 1, .b = 0}), "");
  EXPECT_NE(with({.kind = OpKind::kDuplicate, .a = 1}), "");
  EXPECT_NE(with({.kind = OpKind::kRootOverlay, .s1 = 1}), "") << "a list without an end";
  EXPECT_NE(with({.kind = OpKind::kBind, .s2 = 0}), "");
  EXPECT_NE(with({.kind = OpKind::kAffinity, .s1 = 1, .b = ~uint64_t{0}}), "");
}

// A fuzzer whose seeds are refused at once would find nothing.
TEST(PlanCheck, TakesTheFuzzersSeedsThatAreMeantToBeGood) {
  for (const char* name : {"valid", "mount", "filter"}) {
    std::string bytes = sys::read_file(cat(GANTRY_PLAN_CORPUS "/", name)).value_or(std::string());
    std::vector<uint64_t> copy((bytes.size() + 7) / 8);
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    child::PlanView view;
    EXPECT_STREQ(child::check_plan(copy.data(), bytes.size(), &view), nullptr) << name;
  }
}
}  // namespace
}  // namespace gantry
