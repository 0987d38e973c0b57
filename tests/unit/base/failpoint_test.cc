#include "base/failpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace gantry {
namespace {
Result<int> step() {
  GANTRY_FAILPOINT_TRY("test.step");
  return 1;
}
TEST(Failpoint, CountsOffBeforeItFails) {
  EXPECT_TRUE(step());
  ASSERT_TRUE(failpoint::arm("test.step=2*off->1*error(28)->off"));
  EXPECT_TRUE(step());
  EXPECT_TRUE(step());
  auto failed = step();
  ASSERT_FALSE(failed);
  EXPECT_TRUE(failed.error().is_errno(ENOSPC));
  EXPECT_TRUE(step());
}
TEST(Failpoint, KillIsSigkill) {
  pid_t pid = ::fork();
  if (pid == 0) {
    (void)failpoint::arm("test.step=kill").has_value();
    (void)step().has_value();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}
TEST(Failpoint, BadSpecificationsNameWhatIsLegal) {
  for (const char* bad : {"x", "x=", "x=explode", "x=error(", "x=error(a)", "x=q*kill"}) {
    auto r = failpoint::arm(bad);
    EXPECT_FALSE(r) << bad;
  }
}
TEST(Failpoint, ListsWhatIsLinkedIn) {
  auto names = failpoint::list_failpoints();
  EXPECT_NE(std::find(names.begin(), names.end(), "test.step"), names.end());
}
}  // namespace
}  // namespace gantry
