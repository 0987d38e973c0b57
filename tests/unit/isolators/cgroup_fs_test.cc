#include "base/cgroup_fs.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
constexpr std::string_view kHybrid =
    "30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "39 30 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
    "rw,xattr,release_agent=/x,name=systemd\n"
    "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
    "50 22 0:28 /docker/x /some/where rw - cgroup cgroup rw,cpu,cpuacct\n";

TEST(CgroupLayout, HybridIsFoundWithItsControllers) {
  const CgroupLayout layout = CgroupLayout::parse(kHybrid);
  EXPECT_EQ(layout.kind(), CgroupLayout::Kind::hybrid);
  ASSERT_EQ(layout.hierarchies().size(), 3u);
  ASSERT_NE(layout.find("cpuacct"), nullptr);
  EXPECT_EQ(layout.find("cpuacct"), layout.find("cpu"));
  EXPECT_EQ(layout.find("cpu")->path, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(layout.find("name=systemd")->path, "/sys/fs/cgroup/systemd");
  EXPECT_EQ(layout.find("xattr"), nullptr);
  ASSERT_NE(layout.unified(), nullptr);
  EXPECT_EQ(layout.unified()->path, "/sys/fs/cgroup/unified");
}

TEST(CgroupLayout, TheWidestViewOfOneHierarchyWins) {
  const CgroupLayout layout = CgroupLayout::parse(
      "50 22 0:28 /docker/x /inner rw - cgroup cgroup rw,pids\n"
      "51 22 0:28 / /outer rw - cgroup cgroup rw,pids\n");
  ASSERT_EQ(layout.hierarchies().size(), 1u);
  EXPECT_EQ(layout.find("pids")->path, "/outer");
  EXPECT_EQ(layout.kind(), CgroupLayout::Kind::v1);
}

TEST(CgroupLayout, EscapedPathsAreReadAndDamagedLinesPassedOver) {
  const CgroupLayout layout = CgroupLayout::parse(
      "31 30 0:28 / /a\\040b\\134 rw - cgroup cgroup rw,pids\n"
      "31 30 0:29 / /c rw - cgroup cgroup\n"
      "31 30 0:30 / relative rw - cgroup cgroup rw,cpu\n"
      "- - - - - - - - -\n"
      "\\04 \\\n"
      "x");
  ASSERT_EQ(layout.hierarchies().size(), 1u);
  EXPECT_EQ(layout.hierarchies()[0].path, "/a b\\");
  EXPECT_EQ(CgroupLayout::parse("").kind(), CgroupLayout::Kind::none);
}

TEST(CgroupLayout, PureV2IsFound) {
  const CgroupLayout layout =
      CgroupLayout::parse("25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(layout.kind(), CgroupLayout::Kind::v2);
  EXPECT_EQ(to_string(layout.kind()), "v2");
}

TEST(CgroupFiles, ProcCgroupKeepsColonsInPaths) {
  const auto lines = parse_proc_cgroup("9:name=systemd:/a:b\n4:cpu,cpuacct:/x\n0::/\nbad\n5:y:\n");
  EXPECT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines.at("name=systemd"), "/a:b");
  EXPECT_EQ(lines.at("cpu,cpuacct"), "/x");
  EXPECT_EQ(lines.at(""), "/");
}

TEST(CgroupFiles, PidsNumbersAndKeyedLinesAreTotal) {
  EXPECT_EQ(parse_pids("1\n0\n-4\nx\n99999999999\n7\n"), (std::vector<pid_t>{1, 7}));
  const auto keyed = parse_flat_keyed("anon 12\nfrozen max\nbad\n 5\nfile -1\n");
  EXPECT_EQ(keyed.size(), 2u);
  EXPECT_EQ(keyed.at("anon"), 12u);
  EXPECT_EQ(keyed.at("frozen"), UINT64_MAX);
  EXPECT_EQ(*parse_cgroup_number("max\n"), UINT64_MAX);
  EXPECT_EQ(*parse_cgroup_number("42\n"), 42u);
  EXPECT_TRUE(parse_cgroup_number("4 2").error().is(Errc::corrupt));
  EXPECT_TRUE(parse_cgroup_number("").error().is(Errc::corrupt));
}
}  // namespace
}  // namespace gantry
