// A tmpfs by descriptor alone, and the kept probe of the kernel. Needs root.
#include "checkpoint/workspace.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/sys.h"

namespace gantry {
namespace {
namespace fs = std::filesystem;

class WorkspaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    top = fs::temp_directory_path() / cat("workspace-", sys::random_hex(6));
    fs::create_directory(top);
    program = top / "program";
    std::ofstream(program) << "1";
  }
  void TearDown() override { fs::remove_all(top); }
  static std::string probe_in(const Workspace& workspace) {
    return workspace.read("criu.kdat").value_or(std::string());
  }
  fs::path top;
  std::string program;
};

TEST_F(WorkspaceTest, IsATmpfsThatNobodyHasMounted) {
  std::string before = *sys::read_file("/proc/self/mountinfo");
  Workspace workspace = *Workspace::make();
  struct statfs st;
  ASSERT_EQ(::fstatfs(workspace.directory(), &st), 0);
  EXPECT_EQ(st.f_type, TMPFS_MAGIC);
  EXPECT_EQ(*sys::read_file("/proc/self/mountinfo"), before);
  ASSERT_TRUE(workspace.write("x", "text"));
  EXPECT_EQ(*workspace.read("x"), "text");
  EXPECT_TRUE(workspace.read("y").error().is_errno(ENOENT));
}

TEST_F(WorkspaceTest, StaysAsideWhereRunItselfIsNeeded) {
  Workspace workspace = *Workspace::make();
  for (const char* path : {"/run", "/"}) {
    LaunchPlan::Builder plan;
    EXPECT_FALSE(*workspace.become_run(plan, {path})) << path;
  }
  LaunchPlan::Builder plan;
  EXPECT_TRUE(*workspace.become_run(plan, {"/usr/bin", "/no/such/path"}));
}

TEST_F(WorkspaceTest, TheProbeIsKeptForTheNextExecutor) {
  const std::string path = top / "criu.probe";
  {
    KernelProbe probe(path);
    Workspace workspace = *Workspace::make();
    probe.give(workspace, program);
    EXPECT_EQ(probe_in(workspace), "");
    ASSERT_TRUE(workspace.write("criu.kdat", "what CRIU found"));
    probe.take(workspace, program);
  }
  KernelProbe probe(path);
  Workspace workspace = *Workspace::make();
  probe.give(workspace, program);
  EXPECT_EQ(probe_in(workspace), "what CRIU found");
}

TEST_F(WorkspaceTest, AnotherProgramGetsNoProbe) {
  KernelProbe probe(top / "criu.probe");
  Workspace first = *Workspace::make();
  ASSERT_TRUE(first.write("criu.kdat", "what CRIU found"));
  probe.take(first, program);
  std::ofstream(program) << "another";
  Workspace second = *Workspace::make();
  probe.give(second, program);
  EXPECT_EQ(probe_in(second), "");
}

TEST_F(WorkspaceTest, ADamagedFileIsNoProbe) {
  const std::string path = top / "criu.probe";
  std::ofstream(path) << "not a record";
  KernelProbe probe(path);
  Workspace workspace = *Workspace::make();
  probe.give(workspace, program);
  EXPECT_EQ(probe_in(workspace), "");
}
}  // namespace
}  // namespace gantry
