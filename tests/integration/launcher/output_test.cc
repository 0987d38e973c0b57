// Output and stdin through the logger and the launcher's store.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>

#include "launcher/log_client.h"
#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

class Output : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
    logs.emplace(rig.loop.get_executor(), rig.config().runtime_dir);
  }
  void TearDown() override {
    auto close = [](LogClient& l) -> Co<bool> {
      co_await l.close();
      co_return true;
    };
    rig.run(close(*logs));
  }
  std::string file(const Running& running, const char* name) {
    auto text = sys::read_file(cat(running.log_directory, "/", name), 1u << 30);
    return text ? *text : cat("?", text.error().to_string());
  }
  Rig rig;
  std::optional<LogClient> logs;
};

TEST_F(Output, GoesToTwoFilesAndIsThereAfterFlush) {
  Running r = start(rig, "talker", {"sh", "-c", "echo out; echo err > /dev/stderr; echo more >&2"});
  ASSERT_TRUE(rig.run(rig.launcher->wait_exit("talker")));
  auto sizes = rig.run(logs->flush("talker"));
  ASSERT_TRUE(sizes) << sizes.error().to_string();
  EXPECT_EQ(*sizes, (LogSizes{4, 9, true, true}));
  EXPECT_EQ(file(r, "stdout"), "out\n");
  EXPECT_EQ(file(r, "stderr"), "err\nmore\n");
  EXPECT_TRUE(rig.run(rig.launcher->forget("talker")));
}

TEST_F(Output, SilentContainerLeavesNoFiles) {
  Running r = start(rig, "silent", {"true"});
  ASSERT_TRUE(rig.run(rig.launcher->wait_exit("silent")));
  auto sizes = rig.run(logs->flush("silent"));
  ASSERT_TRUE(sizes);
  EXPECT_EQ(*sizes, (LogSizes{0, 0, true, true}));
  EXPECT_TRUE(std::filesystem::is_empty(r.log_directory));
  EXPECT_TRUE(rig.run(rig.launcher->forget("silent")));
}

TEST_F(Output, UnknownKeyIsNotFound) {
  auto sizes = rig.run(logs->flush("nobody"));
  ASSERT_FALSE(sizes);
  EXPECT_TRUE(sizes.error().is(Errc::not_found)) << sizes.error().to_string();
}

TEST_F(Output, GrowthWakesAWaiterAndTheEndDoes) {
  Running r = start(rig, "cat", {"cat"}, WithStdin::yes);
  auto in = rig.run(rig.launcher->open_stdin("cat"));
  ASSERT_TRUE(in) << in.error().to_string();
  ASSERT_TRUE(sys::write_all(in->get(), "hello\n"));
  auto sizes = rig.run(logs->wait_growth("cat", {}));
  ASSERT_TRUE(sizes) << sizes.error().to_string();
  EXPECT_EQ(*sizes, (LogSizes{6, 0, false, false}));
  in->reset();
  ASSERT_TRUE(rig.run(rig.launcher->close_stdin("cat")));
  auto exit = rig.run(rig.launcher->wait_exit("cat"));
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->wait_status, 0);
  LogSizes known = *sizes;
  while (!known.out_ended || !known.err_ended) {
    sizes = rig.run(logs->wait_growth("cat", known));
    ASSERT_TRUE(sizes) << sizes.error().to_string();
    known = *sizes;
  }
  EXPECT_EQ(file(r, "stdout"), "hello\n");
  EXPECT_TRUE(rig.run(rig.launcher->open_stdin("cat")).error().is(Errc::not_found));
  EXPECT_TRUE(rig.run(rig.launcher->forget("cat")));
}

TEST_F(Output, KillingTheLoggerLosesNotAByte) {
  constexpr int kLines = 200000;
  Running r = start(rig, "seq", {"seq", "1", cat(kLines)});
  for (int i = 0; i < 2; ++i) {
    pid_t logger = 0;
    for (int tries = 0; tries < 1000 && logger == 0; ++tries) {
      ::usleep(10000);
      logger = child_of(rig.launcher->launcher_pid(), "memfd:gantry-logger");
    }
    ASSERT_GT(logger, 0);
    ASSERT_EQ(::kill(logger, SIGKILL), 0);
  }
  ASSERT_TRUE(rig.run(rig.launcher->wait_exit("seq")));
  auto sizes = rig.run(logs->flush("seq"));
  ASSERT_TRUE(sizes) << sizes.error().to_string();
  EXPECT_TRUE(sizes->out_ended);
  std::string expected;
  for (int i = 1; i <= kLines; ++i) expected += cat(i, "\n");
  EXPECT_EQ(file(r, "stdout").size(), expected.size());
  EXPECT_TRUE(file(r, "stdout") == expected);
  EXPECT_TRUE(rig.run(rig.launcher->forget("seq")));
}

TEST_F(Output, AFileThatIsNoRegularFileIsLeftAlone) {
  Running r = start(rig, "trap", {"sh", "-c", "read line; echo bytes; echo $line"}, WithStdin::yes);
  const std::string canary = cat(rig.directory, "/canary");
  ASSERT_TRUE(sys::open(canary, O_CREAT | O_WRONLY, 0600));
  std::filesystem::create_symlink(canary, cat(r.log_directory, "/stdout"));
  auto in = rig.run(rig.launcher->open_stdin("trap"));
  ASSERT_TRUE(in && sys::write_all(in->get(), "go\n"));
  auto exit = rig.run(rig.launcher->wait_exit("trap"));
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->wait_status, 0) << "the container itself does not notice";
  ASSERT_TRUE(rig.run(logs->flush("trap")));
  EXPECT_EQ(std::filesystem::file_size(canary), 0u);
  EXPECT_TRUE(rig.run(rig.launcher->forget("trap")));
}
}  // namespace
}  // namespace gantry::test
