#include "base/process_stat.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process_ref.h"
#include "base/sys.h"

namespace gantry {
namespace {
// A child that waits for the end of what the caller holds, and then ends or execs.
pid_t child(int held, const char* program) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  char byte;
  (void)!::read(held, &byte, 1);
  if (program != nullptr) ::execl(program, program, nullptr);
  ::_exit(3);
}

TEST(ProcessStat, TellsWhoHasExeced) {
  for (const char* program : {static_cast<const char*>(nullptr), "/bin/true"}) {
    auto pipe = sys::pipe();
    ASSERT_TRUE(pipe);
    const pid_t pid = child(pipe->read.get(), program);
    auto before = process_stat(pid);
    ASSERT_TRUE(before) << before.error().to_string();
    EXPECT_FALSE(before->has_execed());
    ASSERT_TRUE(sys::write_all(pipe->write.get(), "!"));
    siginfo_t info;
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
    auto zombie = process_stat(pid);
    ASSERT_TRUE(zombie) << zombie.error().to_string();
    EXPECT_EQ(zombie->has_execed(), program != nullptr);
    EXPECT_EQ(zombie->start_time, before->start_time);
    EXPECT_EQ(*process_start_time(pid), before->start_time);
    ::waitpid(pid, nullptr, 0);
    EXPECT_TRUE(process_stat(pid).error().is_errno(ENOENT));
  }
}
}  // namespace
}  // namespace gantry
