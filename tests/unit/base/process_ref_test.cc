#include "base/process_ref.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/sys.h"

namespace gantry {
namespace {
TEST(ProcessRef, AdoptsOnlyTheSameProcess) {
  pid_t pid = ::fork();
  if (pid == 0) {
    for (;;) ::pause();
  }
  ProcessIdentity identity{pid, *process_start_time(pid), boot_id()};
  auto ref = ProcessRef::open(identity);
  ASSERT_TRUE(ref);
  EXPECT_FALSE(ref->ended());
  ProcessIdentity other_start = identity;
  ++other_start.start_time;
  EXPECT_FALSE(ProcessRef::open(other_start));
  ProcessIdentity other_boot = identity;
  other_boot.boot_id[0] ^= 1;
  EXPECT_FALSE(ProcessRef::open(other_boot));

  ASSERT_TRUE(ref->signal(SIGKILL));
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ref->ended());
  EXPECT_FALSE(ref->signal(SIGTERM));
  EXPECT_FALSE(ProcessRef::open(identity));
  // Linux >= 6.15 tells the status to whoever holds the pidfd; older kernels say so.
  auto told = sys::pidfd_exit_status(ref->pidfd());
  if (told) {
    EXPECT_EQ(*told, status);
  } else {
    EXPECT_TRUE(told.error().is(Errc::unsupported)) << told.error().to_string();
  }
}
TEST(ProcessRef, StartTimeSurvivesHostileCommandNames) {
  EXPECT_TRUE(process_start_time(::getpid()));
  EXPECT_FALSE(process_start_time(0x7ffffffe));
}
}  // namespace
}  // namespace gantry
