// Real launches through a real gantry-launcher and gantry-logger.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <set>

#include "base/sys.h"
#include "launcher/child/child.h"
#include "launcher/log_client.h"
#include "launcher/protocol.h"
#include "launcher/start_launcher.h"
#include "tests/integration/launcher/rig.h"
#include "tests/support/many.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

class Launch : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
  }
  Rig rig;
};

TEST_F(Launch, TrueInAllNamespacesExitsZero) {
  PlanSetup setup = plain_plan({"true"});
  add_container(setup.builder, busybox_root());
  auto exit = rig.run(run_to_end(*rig.launcher, "one", std::move(setup)));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_TRUE(WIFEXITED(exit->wait_status));
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 0);
}

TEST_F(Launch, ExitCodesAndSignalsAreTrue) {
  PlanSetup seven = plain_plan({"sh", "-c", "exit 7"});
  add_container(seven.builder, busybox_root());
  auto exit = rig.run(run_to_end(*rig.launcher, "seven", std::move(seven)));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 7);
  EXPECT_GT(exit->exit_time_ns, 0);

  Running sleeper = start(rig, "sleeper", {"sleep", "1000"});
  ASSERT_TRUE(sleeper.child->process.signal(SIGKILL));
  exit = rig.run(rig.launcher->wait_exit("sleeper"));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_TRUE(WIFSIGNALED(exit->wait_status));
  EXPECT_EQ(WTERMSIG(exit->wait_status), SIGKILL);
  EXPECT_TRUE(rig.run(rig.launcher->forget("sleeper")));
}

TEST_F(Launch, IdentityIsThatOfProc) {
  Running sleeper = start(rig, "sleeper", {"sleep", "1000"});
  auto start_time = process_start_time(sleeper.child->process.pid());
  ASSERT_TRUE(start_time);
  EXPECT_EQ(*start_time, sleeper.child->process.identity().start_time);
  end(rig, sleeper, "sleeper");
}

TEST_F(Launch, CommandThatIsNotThereNamesTheStep) {
  PlanSetup setup = plain_plan({"no-such-command"});
  add_container(setup.builder, busybox_root());
  auto exit = rig.run(run_to_end(*rig.launcher, "missing", std::move(setup)));
  ASSERT_FALSE(exit);
  EXPECT_EQ(exit.error().to_string(), "exec no-such-command: No such file or directory");
  EXPECT_TRUE(exit.error().is_errno(ENOENT));
  ASSERT_TRUE(rig.run(rig.launcher->wait_exit("missing")));
  EXPECT_TRUE(rig.run(rig.launcher->forget("missing")));
}

TEST_F(Launch, KeyInUseIsRefused) {
  Running sleeper = start(rig, "twice", {"sleep", "1000"});
  PlanSetup setup = plain_plan({"true"});
  auto plan = std::move(setup.builder).seal();
  ASSERT_TRUE(plan);
  auto second = rig.run(rig.launcher->launch("twice", *plan, {}));
  ASSERT_FALSE(second);
  EXPECT_TRUE(second.error().is(Errc::already_exists)) << second.error().to_string();
  EXPECT_TRUE(rig.run(rig.launcher->forget("twice")).error().is(Errc::busy));
  end(rig, sleeper, "twice");
  EXPECT_TRUE(rig.run(rig.launcher->forget("twice"))) << "forgetting twice is fine";
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit("twice")).error().is(Errc::not_found));
}

TEST_F(Launch, EndOfFileOnTheSignalPipeRunsNothing) {
  PlanSetup setup = plain_plan({"sh", "-c", "echo ran > /tmp/ran"});
  add_container(setup.builder, busybox_root());
  auto plan = std::move(setup.builder).seal();
  ASSERT_TRUE(plan);
  auto child = rig.run(rig.launcher->launch("unsignalled", *plan, {}));
  ASSERT_TRUE(child) << child.error().to_string();
  setup.signal_write.reset();  // what the death of an executor does
  auto exit = rig.run(rig.launcher->wait_exit("unsignalled"));
  ASSERT_TRUE(exit);
  EXPECT_TRUE(WIFEXITED(exit->wait_status));
  EXPECT_FALSE(std::filesystem::exists(cat(busybox_root(), "/tmp/ran")));
  EXPECT_TRUE(rig.run(rig.launcher->forget("unsignalled")));
}

TEST_F(Launch, ContainerSeesItsOwnNamespacesAndStrictMounts) {
  const std::string text =
      output_of(rig, "look",
                {"sh", "-c",
                 "hostname; echo pid $$; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l; "
                 "ls -l /dev/null | cut -c1; cat /proc/kcore | wc -c; "
                 "echo x 2>/dev/null > /proc/sys/kernel/hostname || echo refused; "
                 "ip -o link show | grep -c 'lo:.*UP'; readlink /proc/self/ns/net; umask; pwd; "
                 "mount | wc -l; ls /proc/acpi 2>/dev/null | wc -l"});
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    lines.push_back(text.substr(at, text.find('\n', at) - at));
  }
  ASSERT_GE(lines.size(), 12u) << text;
  EXPECT_EQ(lines[0], "rig");
  EXPECT_EQ(lines[1], "pid 1");
  EXPECT_EQ(lines[2], "0");
  EXPECT_EQ(lines[3], "4") << "0, 1, 2 and the directory itself:\n" << text;
  EXPECT_EQ(lines[4], "c");
  EXPECT_EQ(lines[5], "0");
  EXPECT_EQ(lines[6], "refused");
  EXPECT_EQ(lines[7], "1");
  EXPECT_EQ(lines[9], "0022");
  EXPECT_EQ(lines[10], "/");
  EXPECT_EQ(lines[12], "0");
}

TEST_F(Launch, ManyAtOnceAllExitWithTheirOwnCode) {
  constexpr int kCount = 60;
  std::vector<std::optional<Result<ExitRecord>>> exits(kCount);
  Scope scope(rig.loop.get_executor());
  auto one = [](Rig& r, int i, std::optional<Result<ExitRecord>>& out) -> Co<void> {
    PlanSetup setup = plain_plan({"sh", "-c", cat("exit ", i)});
    add_container(setup.builder, busybox_root());
    out.emplace(co_await run_to_end(*r.launcher, cat("many-", i), std::move(setup)));
  };
  for (int i = 0; i < kCount; ++i) scope.spawn(one(rig, i, exits[static_cast<size_t>(i)]));
  auto join = [](Scope& s) -> Co<bool> {
    co_await s.join();
    co_return true;
  };
  rig.run(join(scope));
  for (int i = 0; i < kCount; ++i) {
    const auto& exit = exits[static_cast<size_t>(i)];
    ASSERT_TRUE(exit && *exit) << i << ": " << exit->error().to_string();
    EXPECT_EQ(WEXITSTATUS((*exit)->wait_status), i);
  }
}

TEST_F(Launch, AChildHasNoneOfTheDescriptorsKeptForACrowd) {
  constexpr int kCount = 150;  // more than launcher/process/launcher.h: kManySlots
  std::vector<Running> crowd;
  auto key = [](int i) { return cat("crowd-", i); };
  for (int i = 0; i < kCount; ++i) {
    crowd.push_back(start(rig, key(i), {"sleep", "1000"}));
    ASSERT_TRUE(crowd.back().child);
  }
  const std::string fds = cat("/proc/", rig.launcher->launcher_pid(), "/fd");
  // It answers a launch before it closes what came with it: by its next answer it has.
  auto count_between_requests = [&] {
    EXPECT_TRUE(rig.run(rig.launcher->forget("nobody")));
    return count_of(fds);
  };
  const size_t kept = count_between_requests();
  EXPECT_GE(kept, size_t{2} * kCount);
  PlanSetup setup = plain_plan({"true"});
  auto plan = std::move(setup.builder).seal();
  ASSERT_TRUE(plan);
  auto child = rig.run(rig.launcher->launch("waits", *plan, {}));
  ASSERT_TRUE(child) << child.error().to_string();
  EXPECT_LT(count_of(cat("/proc/", child->process.pid(), "/fd")), size_t{50});
  EXPECT_EQ(count_between_requests(), kept);
  setup.signal_write.reset();
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit("waits")));
  EXPECT_TRUE(rig.run(rig.launcher->forget("waits")));
  EXPECT_EQ(output_of(rig, "speaks", {"echo", "heard"}), "heard\n");
  for (int i = 0; i < kCount; ++i) end(rig, crowd[static_cast<size_t>(i)], key(i));
}

TEST_F(Launch, ThousandLaunchesLeaveNothingInTheLauncher) {
  auto once = [&](int i) {
    PlanSetup setup = plain_plan({"true"});
    auto exit = rig.run(run_to_end(*rig.launcher, cat("n", i), std::move(setup)));
    ASSERT_TRUE(exit) << exit.error().to_string();
  };
  for (int i = -many(50); i < 0; ++i) once(i);
  const std::string fds = cat("/proc/", rig.launcher->launcher_pid(), "/fd");
  const auto before = count_of(fds);
  const auto memory = resident_kib(rig.launcher->launcher_pid());
  for (int i = 0; i < many(1000); ++i) once(i);
  EXPECT_EQ(count_of(fds), before);
  EXPECT_LE(resident_kib(rig.launcher->launcher_pid()), memory + 128);
}

TEST_F(Launch, ExecEntersThePidNamespaceAndExitsAlone) {
  Running main = start(rig, "main", {"sleep", "1000"});
  PlanSetup setup = plain_plan({"sh", "-c", "[ -d /proc/1 ] && kill -0 1 && exit 9"});
  auto& b = setup.builder;
  const std::string ns = cat("/proc/", main.child->process.pid(), "/ns/");
  auto pid_ns = sys::open(ns + "pid", O_RDONLY);
  auto mount_ns = sys::open(ns + "mnt", O_RDONLY);
  ASSERT_TRUE(pid_ns && mount_ns);
  b.set_pid_namespace_fd(b.fd(std::move(*pid_ns)));
  b.add(Stage::root, {.kind = OpKind::kSetns, .fd = b.fd(std::move(*mount_ns)), .a = CLONE_NEWNS});
  auto exit = rig.run(run_to_end(*rig.launcher, "exec", std::move(setup)));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 9);
  EXPECT_FALSE(main.child->process.ended());
  // Born in the launcher's own namespace again.
  PlanSetup outside = plain_plan({"true"});
  EXPECT_TRUE(rig.run(run_to_end(*rig.launcher, "outside", std::move(outside))));
  end(rig, main, "main");
}

TEST_F(Launch, BarrierWaitsForTheParent) {
  PlanSetup setup = plain_plan({"true"});
  auto pipe = sys::pipe();
  ASSERT_TRUE(pipe);
  auto& b = setup.builder;
  b.add(Stage::namespaces, {.kind = OpKind::kBarrier, .fd = b.fd(std::move(pipe->read)), .a = 41});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan);
  auto child = rig.run(rig.launcher->launch("barrier", *plan, {}));
  ASSERT_TRUE(child);
  ASSERT_TRUE(sys::write_all(setup.signal_write.get(), "!"));
  uint32_t seen = 0;
  auto on_barrier = [&](uint32_t number) -> Co<Result<void>> {
    seen = number;
    co_return sys::write_all(pipe->write.get(), "!");
  };
  EXPECT_TRUE(rig.run(wait_exec(*plan, child->report_pipe.get(), 10s, on_barrier)));
  EXPECT_EQ(seen, 41u);
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit("barrier")));
  EXPECT_TRUE(rig.run(rig.launcher->forget("barrier")));
}

// A child that has run a prelude and waits: the plan that sent it there, and our ends.
struct Prepared {
  LaunchedChild child;
  UniqueFd socket;
};

std::optional<Prepared> prepare(Rig& rig, const std::string& key) {
  auto sockets = sys::message_sockets();
  if (!sockets) return std::nullopt;
  LaunchPlan::Builder b;
  b.add(Stage::begin, {.kind = OpKind::kParentDeathSignal, .a = SIGKILL});
  b.add(Stage::begin, {.kind = OpKind::kSetsid});
  b.add(Stage::next_plan, {.kind = OpKind::kNextPlan, .fd = b.fd(std::move(sockets->second))});
  auto plan = std::move(b).seal();
  if (!plan) return std::nullopt;
  auto child = rig.run(rig.launcher->launch(key, *plan, {}));
  if (!child || !rig.run(wait_exec(*plan, child->report_pipe.get(), 10s))) return std::nullopt;
  return Prepared{std::move(*child), std::move(sockets->first)};
}

TEST_F(Launch, APreparedChildBecomesTheContainerItIsAssignedTo) {
  auto prepared = prepare(rig, "prepared.1");
  ASSERT_TRUE(prepared);
  auto out = sys::pipe();
  ASSERT_TRUE(out);
  ASSERT_TRUE(rig.run(rig.launcher->assign("prepared.1", "c", {})));
  PlanSetup rest = plain_plan({"sh", "-c", "echo $GREETING; exit 7"});
  rest.builder.add(
      Stage::identity,
      {.kind = OpKind::kDuplicate, .fd = rest.builder.fd(std::move(out->write)), .a = 1});
  rest.builder.set_env({"PATH=/bin", "GREETING=hello"});
  rest.builder.drop_prelude();
  auto plan = std::move(rest.builder).seal();
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_TRUE(send_plan(prepared->socket.get(), *plan));
  EXPECT_TRUE(rig.run(wait_exec(*plan, prepared->child.report_pipe.get(), 10s)));
  auto exit = rig.run(rig.launcher->wait_exit("c"));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 7);
  char text[16] = {};
  EXPECT_EQ(::read(out->read.get(), text, sizeof text), 6);
  EXPECT_STREQ(text, "hello\n");
  auto old = rig.run(rig.launcher->wait_exit("prepared.1"));
  EXPECT_TRUE(!old && old.error().is(Errc::not_found));
  EXPECT_TRUE(rig.run(rig.launcher->forget("c")));
}

TEST_F(Launch, APreparedChildEndsWithWhoeverPreparedIt) {
  auto prepared = prepare(rig, "prepared.1");
  ASSERT_TRUE(prepared);
  prepared->socket.reset();
  auto exit = rig.run(rig.launcher->wait_exit("prepared.1"));
  ASSERT_TRUE(exit);
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), child::kExitNoSignal);
  EXPECT_TRUE(rig.run(rig.launcher->forget("prepared.1")));
}

TEST_F(Launch, OnlyAWaitingChildIsAssignedAndOnlyAFreeKey) {
  Running sleeper = start(rig, "sleeper", {"sleep", "1000"});
  auto with_io = rig.run(rig.launcher->assign("sleeper", "c", {}));
  EXPECT_FALSE(with_io);
  auto prepared = prepare(rig, "prepared.1");
  ASSERT_TRUE(prepared);
  auto taken = rig.run(rig.launcher->assign("prepared.1", "sleeper", {}));
  EXPECT_FALSE(taken);
  prepared->socket.reset();
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit("prepared.1")));
  EXPECT_TRUE(rig.run(rig.launcher->forget("prepared.1")));
  end(rig, sleeper, "sleeper");
}

TEST_F(Launch, ShutdownIsRefusedWhileSomethingRuns) {
  Running sleeper = start(rig, "sleeper", {"sleep", "1000"});
  auto refused = rig.run(rig.launcher->shutdown());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Errc::busy)) << refused.error().to_string();
  end(rig, sleeper, "sleeper");
}

TEST(LaunchFailure, OfTheLauncherItselfLeavesNoCgroups) {
  Rig rig;
  // Where its socket should be: it fails after it has entered its cgroups.
  std::filesystem::create_directories(cat(rig.directory, "/run/", kLauncherSocket, "/full"));
  auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
  EXPECT_FALSE(started);
  auto close = [](RemoteLauncher& l) -> Co<bool> {
    co_await l.close();
    co_return true;
  };
  rig.run(close(*rig.launcher));
  rig.launcher.reset();
  auto mounts = cgroup_mount_points();
  ASSERT_TRUE(mounts);
  for (const std::string& mount : *mounts) {
    EXPECT_FALSE(std::filesystem::exists(cat(mount, rig.cgroup_root))) << mount;
  }
}

TEST_F(Launch, LauncherIsNormalisedAndRunsFromASealedMemfd) {
  const pid_t pid = rig.launcher->launcher_pid();
  const auto exe = std::filesystem::read_symlink(cat("/proc/", pid, "/exe")).string();
  EXPECT_TRUE(exe.starts_with("/memfd:gantry-launcher")) << exe;
  EXPECT_EQ(std::filesystem::read_symlink(cat("/proc/", pid, "/cwd")), "/");
  EXPECT_EQ(::getsid(pid), pid);
  auto environment = sys::read_file(cat("/proc/", pid, "/environ"));
  ASSERT_TRUE(environment);
  EXPECT_TRUE(environment->empty() || (*environment)[0] == '\0') << *environment;
  auto cgroups = sys::read_file(cat("/proc/", pid, "/cgroup"));
  ASSERT_TRUE(cgroups);
  for (size_t at = 0; at < cgroups->size();) {
    size_t line_end = cgroups->find('\n', at);
    std::string line = cgroups->substr(at, line_end - at);
    EXPECT_TRUE(line.ends_with(cat(rig.cgroup_root, "/launcher"))) << line;
    at = line_end + 1;
  }
}
}  // namespace
}  // namespace gantry::test
