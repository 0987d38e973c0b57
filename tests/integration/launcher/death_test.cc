// Whoever dies: what runs goes on, and its exit is true.
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>

#include "launcher/log_client.h"
#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

class Death : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
  }
  // What an executor's death and a new one's start are to the launcher.
  void replace_executor() {
    close_executor();
    new_executor();
  }
  void close_executor() {
    auto close = [](RemoteLauncher& l) -> Co<bool> {
      co_await l.close();
      co_return true;
    };
    rig.run(close(*rig.launcher));
  }
  void new_executor() {
    rig.launcher = std::make_unique<RemoteLauncher>(rig.loop.get_executor());
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
  }
  void kill_launcher() { kill_launcher(rig.launcher->launcher_pid()); }
  void kill_launcher(pid_t pid) {
    auto pidfd = sys::pidfd_open(pid);
    ASSERT_TRUE(pidfd && sys::pidfd_send_signal(pidfd->get(), SIGKILL));
    ASSERT_TRUE(rig.run(wait_fd(pidfd->get(), Readiness::read, 5s)));
  }
  // A plan of plain_plan's: its pipe's reading end is the one descriptor it blocks on.
  static Co<bool> waits_for_its_signal(pid_t pid) {
    for (int i = 0; i < 500; ++i) {
      auto where = sys::read_file(cat("/proc/", pid, "/syscall"), 4096);
      if (where && where->starts_with(cat(SYS_read, " "))) co_return true;
      co_await sleep_for(10ms);
    }
    co_return false;
  }
  Co<bool> new_launcher(pid_t old) {
    for (int i = 0; i < 500 && rig.launcher->launcher_pid() == old; ++i) co_await sleep_for(10ms);
    co_return rig.launcher->launcher_pid() != old;
  }
  // Of a container whose launcher died: true where pidfds keep an exit status (Linux 6.15), lost
  // where they do not; never a guess.
  void expect_exit(const std::string& key, int wait_status) {
    auto exit = rig.run(rig.launcher->wait_exit(key));
    if (pidfds_keep_exits()) {
      ASSERT_TRUE(exit) << exit.error().to_string();
      EXPECT_EQ(exit->wait_status, wait_status);
    } else {
      ASSERT_FALSE(exit);
      EXPECT_NE(exit.error().to_string().find("launcher died"), std::string::npos);
    }
  }
  static bool pidfds_keep_exits() {
    auto self = sys::pidfd_open(::getpid());
    auto status = sys::pidfd_exit_status(self->get());
    return status || !status.error().is(Errc::unsupported);
  }
  Rig rig;
};

TEST_F(Death, OfTheExecutorLeavesAllRunningAndTheNextOneKnowsTheExits) {
  Running lives = start(rig, "lives", {"sleep", "1000"});
  Running ends = start(rig, "ends", {"sh", "-c", "read line; exit 5"}, WithStdin::yes);
  auto in = rig.run(rig.launcher->open_stdin("ends"));
  ASSERT_TRUE(in);
  const pid_t launcher = rig.launcher->launcher_pid();
  replace_executor();
  EXPECT_EQ(rig.launcher->launcher_pid(), launcher);
  ASSERT_TRUE(sys::write_all(in->get(), "go\n"));
  auto known = rig.run(rig.launcher->recover());
  ASSERT_TRUE(known);
  ASSERT_EQ(known->size(), 2u);
  for (const KnownChild& child : *known) {
    if (child.key == "lives") {
      EXPECT_EQ(child.process, lives.child->process.identity());
    }
  }
  auto exit = rig.run(rig.launcher->wait_exit("ends"));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 5);
  EXPECT_FALSE(lives.child->process.ended());
  EXPECT_TRUE(rig.run(rig.launcher->forget("ends")));
  end(rig, lives, "lives");
}

TEST_F(Death, OfTheLauncherLeavesAllRunningAndExitsTrue) {
  Running a = start(rig, "a", {"sh", "-c", "read line; echo $line; exit 6"}, WithStdin::yes);
  Running b = start(rig, "b", {"sleep", "1000"});
  const pid_t old = rig.launcher->launcher_pid();
  kill_launcher();
  ASSERT_TRUE(rig.run(new_launcher(old)));
  EXPECT_FALSE(a.child->process.ended());
  EXPECT_FALSE(b.child->process.ended());

  // The new launcher has got the kept descriptors back from the logger.
  auto in = rig.run(rig.launcher->open_stdin("a"));
  ASSERT_TRUE(in) << in.error().to_string();
  ASSERT_TRUE(sys::write_all(in->get(), "still here\n"));
  expect_exit("a", W_EXITCODE(6, 0));
  LogClient logs(rig.loop.get_executor(), rig.config().runtime_dir);
  auto sizes = rig.run(logs.flush("a"));
  ASSERT_TRUE(sizes) << sizes.error().to_string();
  EXPECT_EQ(sizes->out, 11u);
  auto close = [](LogClient& l) -> Co<bool> {
    co_await l.close();
    co_return true;
  };
  rig.run(close(logs));
  EXPECT_TRUE(rig.run(rig.launcher->forget("a")));
  ASSERT_TRUE(b.child->process.signal(SIGTERM) && b.child->process.signal(SIGKILL));
  expect_exit("b", W_EXITCODE(0, SIGKILL));
  EXPECT_TRUE(rig.run(rig.launcher->forget("b")));
}

TEST_F(Death, OfTheLauncherKillsAChildThatWasStillBeingSetUp) {
  PlanSetup setup = plain_plan({"sleep", "1000"});
  add_container(setup.builder, busybox_root());
  auto plan = std::move(setup.builder).seal();
  ASSERT_TRUE(plan);
  auto child = rig.run(rig.launcher->launch("half", *plan, {}));
  ASSERT_TRUE(child);
  ::usleep(50000);  // it is past PR_SET_PDEATHSIG and waits for its signal
  const pid_t old = rig.launcher->launcher_pid();
  kill_launcher();
  EXPECT_TRUE(rig.run(wait_fd(child->process.pidfd(), Readiness::read, 5s)));
  ASSERT_TRUE(rig.run(new_launcher(old)));
  rig.run(rig.launcher->wait_exit("half")).ignore("true or lost, by the kernel's version");
  EXPECT_TRUE(rig.run(rig.launcher->forget("half")));
}

TEST_F(Death, OfBothIsNotHiddenByAChildThatHangsInItsSetUp) {
  PlanSetup setup = plain_plan({"true"});
  // As one that the kernel does not let die, stuck on a dead file system.
  setup.builder.add(Stage::begin, {.kind = OpKind::kParentDeathSignal, .a = 0});
  auto plan = std::move(setup.builder).seal();
  ASSERT_TRUE(plan);
  auto child = rig.run(rig.launcher->launch("hangs", *plan, {}));
  ASSERT_TRUE(child) << child.error().to_string();
  ASSERT_TRUE(rig.run(waits_for_its_signal(child->process.pid())));
  const pid_t old = rig.launcher->launcher_pid();
  close_executor();
  kill_launcher(old);
  const int64_t since = sys::monotonic_ns();
  new_executor();
  EXPECT_LT(sys::monotonic_ns() - since, 5'000'000'000) << "it asked the dead one's socket";
  EXPECT_NE(rig.launcher->launcher_pid(), old);
  EXPECT_FALSE(child->process.ended());
  setup.signal_write.reset();
  EXPECT_TRUE(rig.run(wait_fd(child->process.pidfd(), Readiness::read, 5s)));
  rig.run(rig.launcher->wait_exit("hangs")).ignore("true or lost, by the kernel's version");
  EXPECT_TRUE(rig.run(rig.launcher->forget("hangs")));
}

TEST_F(Death, OfLauncherAndExecutorTogether) {
  Running a = start(rig, "a", {"sleep", "1000"});
  kill_launcher();
  replace_executor();
  auto known = rig.run(rig.launcher->recover());
  ASSERT_TRUE(known);
  ASSERT_EQ(known->size(), 1u);
  EXPECT_EQ((*known)[0].process, a.child->process.identity());
  ASSERT_TRUE(a.child->process.signal(SIGKILL));
  expect_exit("a", W_EXITCODE(0, SIGKILL));
  EXPECT_TRUE(rig.run(rig.launcher->forget("a")));
}

TEST_F(Death, TwoExecutorsStartingAtOnceShareOneLauncher) {
  RemoteLauncher second(rig.loop.get_executor());
  ASSERT_TRUE(rig.run(second.start_or_connect(rig.config())));
  EXPECT_EQ(second.launcher_pid(), rig.launcher->launcher_pid());
  auto close = [](RemoteLauncher& l) -> Co<bool> {
    co_await l.close();
    co_return true;
  };
  rig.run(close(second));
  PlanSetup setup = plain_plan({"true"});
  EXPECT_TRUE(rig.run(run_to_end(*rig.launcher, "after", std::move(setup))));
}
}  // namespace
}  // namespace gantry::test
