#include "isolators/container_cgroups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "launcher/plan.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry {
namespace {
using std::chrono::seconds;
using test::ok;
using test::run;

class ContainerCgroupsTest : public test::CgroupTest {
 protected:
  // A child that does what the plan's moves say, then `body`.
  template <class Body>
  pid_t child_in(const LaunchPlan& plan, Body body) {
    const int cgroup_slot = plan.header().cgroup_fd;
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    if (cgroup_slot >= 0) {
      const int leaf = ::openat(plan.fds()[cgroup_slot].get(), "cgroup.procs", O_WRONLY);
      if (::write(leaf, "0", 1) != 1) ::_exit(101);
    }
    for (const Op& op : plan.ops()) {
      if (op.kind == OpKind::kJoinCgroup && ::write(plan.fds()[op.fd].get(), "0", 1) != 1) {
        ::_exit(102);
      }
    }
    body();
    ::_exit(0);
  }
  LaunchPlan create(ContainerCgroups& cgroups, const std::string& name,
                    const std::string& parent = "") {
    LaunchPlan::Builder builder;
    builder.set_args({"true"});
    builder.add(Stage::exec, {.kind = OpKind::kExec, .s1 = builder.str("true")});
    ok(cgroups.create(name, builder, parent));
    return ok(std::move(builder).seal());
  }
  static int wait_for(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }
  // This host's layout as if cgroup2 were not mounted.
  static CgroupLayout without_v2() {
    std::string mountinfo = ok(sys::read_file("/proc/self/mountinfo"));
    const size_t at = mountinfo.find(" - cgroup2 ");
    if (at != mountinfo.npos) mountinfo.replace(at, 11, " - tmpfs00 ");
    return CgroupLayout::parse(mountinfo);
  }
  bool exists(const std::string& name, const std::string& below = "containers") {
    for (const CgroupHierarchy& hierarchy : layout_.hierarchies()) {
      if (::access(cat(hierarchy.path, root_, "/", below, "/", name).c_str(), F_OK) == 0)
        return true;
    }
    return false;
  }
};

TEST_F(ContainerCgroupsTest, ChildIsInEveryHierarchyAndKilledWithItsGrandchildren) {
  auto cgroups = open_cgroups({});
  const LaunchPlan plan = create(*cgroups, "a");
  const pid_t pid = child_in(plan, [] {
    if (::fork() == 0) ::pause();
    ::pause();
  });
  ok(run(loop_, cgroups->verify("a", pid, seconds(5))));
  while (ok(cgroups->processes("a")).size() < 2) ::usleep(1000);
  auto missing = run(loop_, cgroups->verify("a", ::getpid(), std::chrono::milliseconds(1)));
  EXPECT_TRUE(missing.error().is(Errc::timed_out));

  ok(run(loop_, cgroups->destroy("a", seconds(10))));
  EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL);
  EXPECT_FALSE(exists("a"));
  ok(run(loop_, cgroups->destroy("a", seconds(1))));  // idempotent
  ok(run(loop_, cgroups->destroy("never", seconds(1))));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, PausedProcessStandsStillAndResumes) {
  auto cgroups = open_cgroups({});
  const LaunchPlan plan = create(*cgroups, "p");
  int ticks[2];
  ASSERT_EQ(::pipe2(ticks, O_CLOEXEC | O_NONBLOCK), 0);
  const pid_t pid = child_in(plan, [&] {
    while (true) {
      (void)!::write(ticks[1], "x", 1);
      ::usleep(1000);
    }
  });
  ok(run(loop_, cgroups->verify("p", pid, seconds(5))));
  ok(run(loop_, cgroups->pause("p", seconds(5))));
  char buffer[4096];
  (void)!::read(ticks[0], buffer, sizeof buffer);
  ::usleep(30000);
  EXPECT_LT(::read(ticks[0], buffer, sizeof buffer), 0) << "it still runs";
  ok(run(loop_, cgroups->resume("p", seconds(5))));
  ::usleep(30000);
  EXPECT_GT(::read(ticks[0], buffer, sizeof buffer), 0);
  ok(run(loop_, cgroups->pause("p", seconds(5))));
  // Killed while frozen.
  ok(run(loop_, cgroups->destroy("p", seconds(10))));
  EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL);
  ::close(ticks[0]);
  ::close(ticks[1]);
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, ForkBombDiesAndCgroupsMadeByTheTaskGoToo) {
  auto cgroups = open_cgroups({});
  const LaunchPlan plan = create(*cgroups, "bomb");
  ok(cgroups->write_checked("bomb", "pids", "pids.max", "200"));
  const std::string inner = cat(layout_.find("pids")->path, root_, "/containers/bomb/x");
  const pid_t pid = child_in(plan, [&] {
    ::mkdir(inner.c_str(), 0755);
    ::mkdir((inner + "/y").c_str(), 0755);
    const int procs = ::open((inner + "/y/cgroup.procs").c_str(), O_WRONLY);
    (void)!::write(procs, "0", 1);
    while (true) (void)!::fork();
  });
  while (ok(cgroups->processes("bomb")).size() < 150) ::usleep(1000);
  ok(run(loop_, cgroups->destroy("bomb", seconds(10))));
  EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL);
  EXPECT_FALSE(exists("bomb"));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, NestedContainersLiveBelowTheirParent) {
  auto cgroups = open_cgroups({});
  const LaunchPlan parent = create(*cgroups, "a");
  const LaunchPlan nested = create(*cgroups, "a/n/b");
  const pid_t outer = child_in(parent, [] { ::pause(); });
  const pid_t inner = child_in(nested, [] { ::pause(); });
  ok(run(loop_, cgroups->verify("a", outer, seconds(5))));
  ok(run(loop_, cgroups->verify("a/n/b", inner, seconds(5))));
  EXPECT_EQ(ok(cgroups->processes("a")).size(), 2u);
  ok(run(loop_, cgroups->destroy("a/n/b", seconds(5))));
  EXPECT_EQ(WTERMSIG(wait_for(inner)), SIGKILL);
  EXPECT_EQ(ok(cgroups->processes("a")).size(), 1u);
  ok(run(loop_, cgroups->destroy("a", seconds(5))));
  EXPECT_EQ(WTERMSIG(wait_for(outer)), SIGKILL);
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, NameTakenIsAnErrorAndLeavesTheOther) {
  auto cgroups = open_cgroups({.pool_size = 2});
  cgroups->refill_pool();
  LaunchPlan::Builder first, second;
  ok(cgroups->create("a", first));
  EXPECT_TRUE(cgroups->create("a", second).error().is(Errc::already_exists));
  EXPECT_TRUE(exists("a"));
  const auto orphans = ok(cgroups->orphans({}));
  EXPECT_EQ(orphans, std::vector<std::string>{"a"});
  EXPECT_TRUE(ok(cgroups->orphans({"a"})).empty());
  ok(run(loop_, cgroups->destroy("a", seconds(5))));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, WhatCannotBeTakenOverInOneHierarchyStaysWhereItWasInAll) {
  const CgroupLayout layout = ok(CgroupLayout::detect());
  if (layout.kind() == CgroupLayout::Kind::v2) GTEST_SKIP() << "needs a cgroup v1 hierarchy";
  auto cgroups = open_cgroups(without_v2(), {});
  create(*cgroups, "prepared");
  const std::string taken = cat(layout_.hierarchies().back().path, root_, "/containers/container");
  ASSERT_EQ(::mkdir(taken.c_str(), 0755), 0);
  EXPECT_TRUE(cgroups->take_over("prepared", "container").error().is_errno(EEXIST));
  EXPECT_TRUE(cgroups->knows("prepared"));
  EXPECT_FALSE(cgroups->knows("container"));
  for (const std::string& path : cgroups->paths("prepared")) {
    EXPECT_EQ(::access(path.c_str(), F_OK), 0) << path;
  }
  ASSERT_EQ(::rmdir(taken.c_str()), 0);
  EXPECT_FALSE(exists("container"));
  ok(cgroups->take_over("prepared", "container"));
  EXPECT_FALSE(exists("prepared"));
  ok(run(loop_, cgroups->destroy("container", seconds(1))));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, PoolDirectoriesBecomeContainersComeBackAndAreSweptAfterAKill) {
  const CgroupOptions options{
      .pool_size = 3,
      .v1_defaults = {{"devices", "devices.deny", "a"}, {"devices", "devices.allow", "c 1:3 rwm"}}};
  auto cgroups = open_cgroups(options);
  if (cgroups->layout().kind() == CgroupLayout::Kind::v2) {
    close(*cgroups);
    GTEST_SKIP() << "needs a cgroup v1 hierarchy";
  }
  cgroups->refill_pool();
  run(loop_, cgroups->settle_pool());
  EXPECT_TRUE(ok(cgroups->orphans({})).empty()) << "pool directories are no orphans";
  for (int round = 0; round < 5; ++round) {  // more than the pool holds: the rest is made
    const std::string name = cat("c", round);
    const LaunchPlan plan = create(*cgroups, name);
    EXPECT_EQ(trim(ok(cgroups->read(name, "devices", "devices.list"))), "c 1:3 rwm");
    const pid_t pid = child_in(plan, [] { ::pause(); });
    ok(run(loop_, cgroups->verify(name, pid, seconds(5))));
    if (round == 1) {  // a changed one is never given to the next
      ok(cgroups->write(name, "devices", "devices.allow", "c 1:5 rwm"));
    }
    cgroups->allow_recycling(name);
    ok(run(loop_, cgroups->destroy(name, seconds(5))));
    wait_for(pid);
    EXPECT_FALSE(exists(name));
  }
  // As if killed: another one on the same root finds the pool's directories and removes them.
  auto heir = open_cgroups({.pool_size = 0});
  const auto left =
      ok(cgroup::children_at(AT_FDCWD, cat(layout_.find("devices")->path, root_, "/containers")));
  EXPECT_TRUE(left.empty());
  close(*cgroups);
  close(*heir);
}

// v1 only: the unified mount is taken away in a mount namespace of our own.
TEST_F(ContainerCgroupsTest, V1OnlyHostUsesTheV1Freezer) {
  CgroupLayout layout = ok(CgroupLayout::detect());
  if (layout.kind() != CgroupLayout::Kind::hybrid) GTEST_SKIP() << "needs a hybrid cgroup host";
  auto cgroups = open_cgroups(without_v2(), {});
  EXPECT_EQ(cgroups->layout().kind(), CgroupLayout::Kind::v1);
  const LaunchPlan plan = create(*cgroups, "a");
  EXPECT_LT(plan.header().cgroup_fd, 0);
  EXPECT_EQ(cgroups->record("a"), "v1");
  const pid_t pid = child_in(plan, [] {
    while (true) (void)!::fork(), ::usleep(500);
  });
  ok(cgroups->write_checked("a", "pids", "pids.max", "64"));
  ok(run(loop_, cgroups->verify("a", pid, seconds(5))));
  ok(run(loop_, cgroups->pause("a", seconds(5))));
  EXPECT_EQ(trim(ok(cgroups->read("a", "freezer", "freezer.state"))), "FROZEN");
  ok(run(loop_, cgroups->destroy("a", seconds(10))));
  EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL);
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, AFrozenDirectoryOrOneWithMembersDoesNotComeBackFromThePoolAsItIs) {
  CgroupLayout layout = ok(CgroupLayout::detect());
  if (layout.kind() == CgroupLayout::Kind::v2) GTEST_SKIP() << "needs a cgroup v1 hierarchy";
  auto cgroups = open_cgroups(without_v2(), {.pool_size = 2});
  for (const char* name : {"a", "b", "c"}) {
    const LaunchPlan plan = create(*cgroups, name);
    EXPECT_EQ(trim(ok(cgroups->read(name, "freezer", "freezer.state"))), "THAWED") << name;
    const pid_t pid = child_in(plan, [] { ::pause(); });
    ok(run(loop_, cgroups->verify(name, pid, seconds(5))));
    cgroups->allow_recycling(name);
    ok(run(loop_, cgroups->destroy(name, seconds(5))));
    EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL) << "its members are killed";
    LaunchPlan::Builder next;
    ok(cgroups->create(name, next));
    cgroups->allow_recycling(name);
    // A kill that comes when nobody is left to kill.
    ok(run(loop_, cgroups->pause(name, seconds(5))));
    ok(run(loop_, cgroups->destroy(name, seconds(5))));
  }
  close(*cgroups);
}

// In every hierarchy of the host, then on one with v1 alone.
TEST_F(ContainerCgroupsTest, AParentIsMadeWithTheFirstContainerAndGoesWithTheLast) {
  for (const CgroupLayout& layout : {ok(CgroupLayout::detect()), without_v2()}) {
    if (layout.hierarchies().empty()) continue;
    auto cgroups = open_cgroups(layout, {.pool_size = 2});
    cgroups->refill_pool();
    run(loop_, cgroups->settle_pool());
    const LaunchPlan plan = create(*cgroups, "a", "web/front");
    const LaunchPlan second = create(*cgroups, "b", "web");
    const pid_t pid = child_in(plan, [] { ::pause(); });
    ok(run(loop_, cgroups->verify("a", pid, seconds(5))));
    for (const std::string& path : cgroups->paths("a")) {
      EXPECT_TRUE(path.ends_with(cat(root_, "/parents/web/front/@a"))) << path;
    }
    EXPECT_EQ(ok(cgroups->processes("a")), std::vector<pid_t>{pid});
    ok(run(loop_, cgroups->pause("a", seconds(5))));
    cgroups->allow_recycling("a");
    ok(run(loop_, cgroups->destroy("a", seconds(10))));
    EXPECT_EQ(WTERMSIG(wait_for(pid)), SIGKILL);
    EXPECT_FALSE(exists("web/front", "parents"));
    EXPECT_TRUE(exists("web", "parents"));
    ok(run(loop_, cgroups->destroy("b", seconds(10))));
    EXPECT_FALSE(exists("web", "parents"));
    close(*cgroups);
  }
}

TEST_F(ContainerCgroupsTest, AParentThatSomebodyElseMadeStays) {
  auto cgroups = open_cgroups({});
  const std::string web = cat(layout_.hierarchies()[0].path, root_, "/parents/web");
  ASSERT_EQ(::mkdir(web.c_str(), 0755), 0);
  create(*cgroups, "a", "web/front");
  ok(run(loop_, cgroups->destroy("a", seconds(10))));
  EXPECT_FALSE(exists("web/front", "parents"));
  EXPECT_EQ(::access(web.c_str(), F_OK), 0);
  ok(cgroups->remove_unused_parents());
  ASSERT_EQ(::rmdir(web.c_str()), 0);
  EXPECT_FALSE(exists("web", "parents"));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, RecoveryFindsContainersAndLeftoversInParents) {
  auto cgroups = open_cgroups({});
  create(*cgroups, "kept", "web");
  create(*cgroups, "lost", "web");
  create(*cgroups, "alone", "web/front");
  // As if killed.
  auto heir = open_cgroups({});
  heir->adopt("kept", cgroups->record("kept"), "web");
  EXPECT_EQ(ok(heir->orphans({"kept"})),
            (std::vector<std::string>{"/parents/web/@lost", "/parents/web/front/@alone"}));
  // The same name elsewhere is another container's.
  heir->adopt("lost", "v1", "");
  EXPECT_EQ(ok(heir->orphans({"kept", "lost"})).size(), 2u);
  ok(run(loop_, heir->destroy("/parents/web/@lost", seconds(5))));
  EXPECT_TRUE(exists("web/front", "parents"));
  ok(run(loop_, heir->destroy("/parents/web/front/@alone", seconds(5))));
  EXPECT_FALSE(exists("web/front", "parents"));
  EXPECT_TRUE(exists("web/@kept", "parents"));
  for (const CgroupHierarchy& hierarchy : layout_.hierarchies()) {  // half made
    const std::string path = cat(hierarchy.path, root_, "/parents/half");
    ASSERT_EQ(::mkdir(path.c_str(), S_ISVTX | 0755), 0);
  }
  ok(heir->remove_unused_parents());
  EXPECT_FALSE(exists("half", "parents"));
  ok(run(loop_, heir->destroy("kept", seconds(5))));
  EXPECT_FALSE(exists("web", "parents"));
  close(*heir);
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, AParentThatCannotBeIsRefusedAndLeavesNothing) {
  auto cgroups = open_cgroups({});
  LaunchPlan::Builder builder;
  auto refused = cgroups->create("a", builder, "web/cgroup.procs");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().to_string().find("is a file of the kernel's"), std::string::npos);
  EXPECT_FALSE(cgroups->knows("a"));
  EXPECT_FALSE(exists("web", "parents"));
  close(*cgroups);
}

TEST_F(ContainerCgroupsTest, BadRootIsRefused) {
  for (const char* root : {"", "gantry", "/a/../b", "/a/"}) {
    auto opened =
        ContainerCgroups::open(loop_.get_executor(), ok(CgroupLayout::detect()), {.root = root});
    ASSERT_FALSE(opened.has_value()) << root;
    EXPECT_TRUE(opened.error().is(Errc::invalid));
  }
}
}  // namespace
}  // namespace gantry
