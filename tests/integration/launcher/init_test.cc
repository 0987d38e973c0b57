// gantry-init as PID 1 of a pid namespace, and its exit codes.
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
// Starts gantry-init with a shell script in a pid namespace of its own.
pid_t start_init(const char* script) {
  const pid_t pid = static_cast<pid_t>(
      ::syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, nullptr, nullptr, nullptr, nullptr));
  GANTRY_CHECK(pid >= 0);
  if (pid == 0) {
    ::execl(GANTRY_INIT_BINARY, "gantry-init", "/bin/sh", "-c", script, nullptr);
    ::_exit(99);
  }
  return pid;
}

int code_of(pid_t pid) {
  int status = 0;
  GANTRY_CHECK(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(Init, EndsAsTheCommandEnds) {
  EXPECT_EQ(code_of(start_init("exit 7")), 7);
  EXPECT_EQ(code_of(start_init("kill -TERM $$")), 128 + SIGTERM);
}

TEST(Init, ReapsOrphansWhileTheCommandRuns) {
  // The grandchild is orphaned to init; its pid is gone again before the command ends.
  EXPECT_EQ(code_of(start_init("orphan=$( (sleep 0.05 & echo $!) ); sleep 0.3; "
                               "kill -0 $orphan 2>/dev/null && exit 1; exit 0")),
            0);
}

TEST(Init, ForwardsSignals) {
  const pid_t pid = start_init("trap 'exit 42' USR1; while :; do sleep 0.02; done");
  for (int i = 0; i < 200; ++i) {
    ::usleep(20000);
    ::kill(pid, SIGUSR1);  // before the trap is set it kills the shell: 128 + 10
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) {
      EXPECT_TRUE(WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 128 + SIGUSR1);
      return;
    }
  }
  ::kill(pid, SIGKILL);
  code_of(pid);
  FAIL() << "no signal arrived";
}

TEST(Init, WithoutSuchACommandIs127) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(GANTRY_INIT_BINARY, "gantry-init", "/no/such/command", nullptr);
    ::_exit(99);
  }
  EXPECT_EQ(code_of(pid), 127);
}
}  // namespace
}  // namespace gantry::test
