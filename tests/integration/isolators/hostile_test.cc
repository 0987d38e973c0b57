// Everything a starter can leak in is set to something odd before the launcher starts; none of it
// may be seen inside.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "tests/integration/isolators/box.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry {
namespace {
using test::BoxTest;
using test::ok;

class HostileStarterTest : public BoxTest {
 protected:
  static void SetUpTestSuite() {
    ::setpriority(PRIO_PROCESS, 0, 7);
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    ::sched_setaffinity(0, sizeof first, &first);
    ok(sys::write_file("/proc/self/oom_score_adj", "321"));
    const gid_t groups[] = {4, 27};
    ::setgroups(2, groups);
    ::umask(0);
    ::signal(SIGUSR1, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    const rlimit core = {4096, 4096}, stack = {4u << 20, 4u << 20};
    ::setrlimit(RLIMIT_CORE, &core);
    ::setrlimit(RLIMIT_STACK, &stack);
    ::personality(ADDR_NO_RANDOMIZE);
    ::syscall(SYS_ioprio_set, 1, 0, 3 << 13);  // idle
    ::setenv("CANARY", "s3cret", 1);
    const int leaked = ::open("/etc", O_RDONLY);  // without O_CLOEXEC, on purpose
    ASSERT_GE(leaked, 0);
    BoxTest::SetUpTestSuite();
  }
};

TEST_F(HostileStarterTest, NothingOfTheStarterIsSeenInside) {
  const std::string out = output_of(
      shell("busybox cat /proc/self/status; busybox cut -d ' ' -f 18,19 /proc/self/stat; "
            "echo oom=$(busybox cat /proc/self/oom_score_adj); echo umask=$(umask); "
            "echo core=$(ulimit -c) stack=$(ulimit -s); busybox ionice -p 1; "
            "echo personality=$(busybox cat /proc/self/personality); busybox id -G; busybox env; "
            "busybox ls -l /proc/1/fd"));
  const auto has = [&](std::string_view line) {
    for (std::string_view candidate : split(out, '\n')) {
      if (candidate == line) return true;
    }
    return false;
  };
  EXPECT_TRUE(has("20 0")) << out;
  EXPECT_TRUE(has("oom=0")) << out;
  EXPECT_TRUE(has("umask=0022")) << out;
  // Hard limits of ours below the defaults become the container's: they cannot be raised here.
  EXPECT_TRUE(has("core=0 stack=4096") || has("core=0 stack=8192")) << out;
  EXPECT_TRUE(has("personality=00000000")) << out;
  EXPECT_TRUE(has("SigIgn:\t0000000000000000")) << out;
  EXPECT_TRUE(has("SigBlk:\t0000000000000000")) << out;
  EXPECT_TRUE(has("0")) << "groups\n" << out;
  EXPECT_TRUE(has("none: prio 0")) << out;
  EXPECT_FALSE(has("Cpus_allowed_list:\t0") && ::sysconf(_SC_NPROCESSORS_ONLN) > 1) << out;
  EXPECT_EQ(out.find("s3cret"), std::string::npos) << out;
  EXPECT_EQ(out.find("/etc"), std::string::npos) << out;
}
}  // namespace
}  // namespace gantry
