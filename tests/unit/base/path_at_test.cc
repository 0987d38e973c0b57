#include "base/path_at.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/sys.h"

namespace gantry {
namespace {
class PathAt : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-path-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
  }
  void TearDown() override {
    ASSERT_TRUE(remove_tree_at(AT_FDCWD, path_));
    EXPECT_NE(::access(path_.c_str(), F_OK), 0);
  }
  std::string path_;
};

TEST_F(PathAt, InRootKeepsAbsoluteAndClimbingLinksInside) {
  auto dir = DirFd::open(path_);
  ASSERT_TRUE(dir);
  ASSERT_EQ(::mkdirat(dir->get(), "etc", 0755), 0);
  ASSERT_TRUE(write_file_atomically(dir->get(), "inside", "mine", Durability::memory));
  ASSERT_EQ(::symlinkat("/inside", dir->get(), "absolute"), 0);
  ASSERT_EQ(::symlinkat("../../../../inside", dir->get(), "etc/climbing"), 0);
  for (const char* name : {"absolute", "etc/climbing", "../inside", "/inside"}) {
    auto fd = dir->open_in_root(name, O_RDONLY);
    ASSERT_TRUE(fd) << name << ": " << fd.error().to_string();
    EXPECT_EQ(*sys::read_all(fd->get()), "mine");
  }
  ASSERT_EQ(::symlinkat("/proc/self/root/etc/passwd", dir->get(), "magic"), 0);
  EXPECT_FALSE(dir->open_in_root("magic", O_RDONLY));
}
TEST_F(PathAt, BeneathRefusesLinksAndClimbing) {
  auto dir = DirFd::open(path_);
  ASSERT_TRUE(dir);
  ASSERT_EQ(::symlinkat(path_.c_str(), dir->get(), "link"), 0);
  EXPECT_FALSE(dir->open_beneath("link", O_RDONLY));
  EXPECT_FALSE(dir->open_beneath("../x", O_RDONLY));
  EXPECT_FALSE(dir->open_beneath("/etc/passwd", O_RDONLY));
}
TEST_F(PathAt, RemoveTreeDoesNotFollowLinksOutOfIt) {
  ASSERT_EQ(::mkdir((path_ + "/outside").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((path_ + "/tree").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((path_ + "/tree/deep").c_str(), 0755), 0);
  ASSERT_EQ(::symlink((path_ + "/outside").c_str(), (path_ + "/tree/deep/link").c_str()), 0);
  auto dir = DirFd::open(path_);
  ASSERT_TRUE(dir);
  ASSERT_TRUE(write_file_atomically(dir->get(), "keep", "x", Durability::disk));
  ASSERT_TRUE(remove_tree_at(dir->get(), "tree"));
  EXPECT_EQ(::access((path_ + "/outside").c_str(), F_OK), 0);
  EXPECT_NE(::access((path_ + "/tree").c_str(), F_OK), 0);
  EXPECT_TRUE(remove_tree_at(dir->get(), "tree")) << "removing what is gone is success";
}
TEST_F(PathAt, AtomicWriteReplacesWholeAndLeavesNoTemporary) {
  auto dir = DirFd::open(path_);
  ASSERT_TRUE(dir);
  ASSERT_TRUE(write_file_atomically(dir->get(), "f", "one", Durability::memory));
  ASSERT_TRUE(write_file_atomically(dir->get(), "f", "second", Durability::memory));
  EXPECT_EQ(*sys::read_file(path_ + "/f"), "second");
  ASSERT_EQ(::mkdirat(dir->get(), "d", 0755), 0);
  EXPECT_FALSE(write_file_atomically(dir->get(), "d", "x", Durability::memory));
  ASSERT_TRUE(sys::write_file(path_ + "/f", "sec"));
  auto made = sys::open(path_ + "/.tmp.left", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(made);
  ASSERT_TRUE(remove_temporaries(dir->get()));
  EXPECT_NE(::access((path_ + "/.tmp.left").c_str(), F_OK), 0);
}
}  // namespace
}  // namespace gantry
