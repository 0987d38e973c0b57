// The launcher becomes another build in place, under running containers.
#include <fcntl.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "launcher/log_client.h"
#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

class Upgrade : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
    pid = rig.launcher->launcher_pid();
  }
  // The same programs with bytes behind their end: another build to whoever compares.
  RemoteLauncher::Config another_build(const std::string& suffix) {
    RemoteLauncher::Config config = rig.config();
    for (std::string* path : {&config.launcher_binary, &config.logger_binary}) {
      const std::string copy =
          rig.directory + "/" + std::filesystem::path(*path).filename().string() + suffix;
      std::filesystem::copy_file(*path, copy, std::filesystem::copy_options::overwrite_existing);
      std::ofstream(copy, std::ios::app) << suffix;
      *path = copy;
    }
    return config;
  }
  Result<void> become(const RemoteLauncher::Config& config) {
    auto close = [](RemoteLauncher& l) -> Co<bool> {
      co_await l.close();
      co_return true;
    };
    rig.run(close(*rig.launcher));
    rig.launcher = std::make_unique<RemoteLauncher>(rig.loop.get_executor());
    return rig.run(rig.launcher->start_or_connect(config));
  }
  static Co<bool> flushed(Rig& rig, std::string key) {
    LogClient logs(rig.loop.get_executor(), rig.config().runtime_dir);
    Result<LogSizes> sizes = co_await logs.flush(std::move(key));
    co_await logs.close();
    co_return sizes.has_value();
  }
  pid_t logger() const { return child_of(pid, "gantry-logger"); }
  Rig rig;
  pid_t pid = 0;
};

std::string read_file_of(const Running& running) {
  return sys::read_file(running.log_directory + "/stdout").value_or(std::string());
}

TEST_F(Upgrade, KeepsThePidTheChildrenTheirStdinAndTheirExits) {
  std::vector<Running> lives;
  for (int i = 0; i < 20; ++i) {
    lives.push_back(start(rig, "lives" + std::to_string(i),
                          {"sh", "-c", "while read line; do echo got $line; done; exit 7"},
                          WithStdin::yes));
  }
  const pid_t old_logger = logger();
  for (const char* suffix : {"v2", "v3", ""}) {
    const bool is_back = *suffix == '\0';
    auto became = become(is_back ? rig.config() : another_build(suffix));
    ASSERT_TRUE(became) << became.error().to_string();
    EXPECT_EQ(rig.launcher->upgrade_refused(), "");
    EXPECT_EQ(rig.launcher->launcher_pid(), pid);
    auto known = rig.run(rig.launcher->recover());
    ASSERT_TRUE(known);
    EXPECT_EQ(known->size(), lives.size());
    EXPECT_EQ(output_of(rig, cat("new", suffix), {"echo", "hello"}), "hello\n");
  }
  EXPECT_NE(logger(), old_logger);
  for (size_t i = 0; i < lives.size(); ++i) {
    const std::string key = "lives" + std::to_string(i);
    auto in = rig.run(rig.launcher->open_stdin(key));
    ASSERT_TRUE(in) << in.error().to_string();
    ASSERT_TRUE(sys::write_all(in->get(), "it\n"));
    in->reset();
    ASSERT_TRUE(rig.run(rig.launcher->close_stdin(key)));
    auto exit = rig.run(rig.launcher->wait_exit(key));
    ASSERT_TRUE(exit) << exit.error().to_string();
    EXPECT_EQ(exit->wait_status, 7 << 8);  // its own child still: not by pidfd
    ASSERT_TRUE(rig.run(flushed(rig, key)));
    EXPECT_EQ(read_file_of(lives[i]), "got it\n");
    ASSERT_TRUE(rig.run(rig.launcher->forget(key)));
  }
}

TEST_F(Upgrade, AnExitMeanwhileIsSeen) {
  Running ends = start(rig, "ends", {"sleep", "1000"});
  const RemoteLauncher::Config config = another_build("v2");
  auto close = [](RemoteLauncher& l) -> Co<bool> {
    co_await l.close();
    co_return true;
  };
  rig.run(close(*rig.launcher));
  // Stopped, it finds the exit and the upgrade in whatever order.
  auto launcher = sys::pidfd_open(pid);
  ASSERT_TRUE(launcher && sys::pidfd_send_signal(launcher->get(), SIGSTOP));
  ASSERT_TRUE(ends.child->process.signal(SIGKILL));
  ASSERT_TRUE(sys::pidfd_send_signal(launcher->get(), SIGCONT));
  rig.launcher = std::make_unique<RemoteLauncher>(rig.loop.get_executor());
  ASSERT_TRUE(rig.run(rig.launcher->start_or_connect(config)));
  auto exit = rig.run(rig.launcher->wait_exit("ends"));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_EQ(exit->wait_status, SIGKILL);
  ASSERT_TRUE(rig.run(rig.launcher->forget("ends")));
}

TEST_F(Upgrade, AProgramThatCannotTakeOverIsRefusedAndTheOldOneGoesOn) {
  Running lives = start(rig, "lives", {"sleep", "1000"});
  RemoteLauncher::Config config = another_build("v2");
  std::ofstream(config.launcher_binary, std::ios::trunc) << "no program\n";
  ASSERT_TRUE(become(config));
  EXPECT_NE(rig.launcher->upgrade_refused().find("cannot take"), std::string::npos)
      << rig.launcher->upgrade_refused();
  EXPECT_EQ(rig.launcher->launcher_pid(), pid);
  EXPECT_EQ(output_of(rig, "new", {"echo", "hello"}), "hello\n");
  ASSERT_TRUE(become(rig.config()));
  end(rig, lives, "lives");
}

TEST_F(Upgrade, ItsDeathAfterwardsIsAsBefore) {
  Running lives = start(rig, "lives", {"sleep", "1000"});
  ASSERT_TRUE(become(another_build("v2")));
  auto pidfd = sys::pidfd_open(pid);
  ASSERT_TRUE(pidfd && sys::pidfd_send_signal(pidfd->get(), SIGKILL));
  ASSERT_TRUE(rig.run(wait_fd(pidfd->get(), Readiness::read, 5s)));
  auto new_launcher = [](Rig& r, pid_t old) -> Co<bool> {
    for (int i = 0; i < 500 && r.launcher->launcher_pid() == old; ++i) co_await sleep_for(10ms);
    co_return r.launcher->launcher_pid() != old;
  };
  ASSERT_TRUE(rig.run(new_launcher(rig, pid)));
  EXPECT_EQ(output_of(rig, "new", {"echo", "hello"}), "hello\n");
  EXPECT_FALSE(lives.child->process.ended());
  end(rig, lives, "lives");
}
}  // namespace
}  // namespace gantry::test
