// /proc/PID/mountinfo, and which mounts of a container belong to the host.
#include "checkpoint/mount_table.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
constexpr char kContainer[] =
    "100 99 0:50 / / rw - overlay overlay rw,lowerdir=/l\n"
    "101 100 0:51 / /proc rw,nosuid - proc proc rw\n"
    "102 100 0:52 / /dev rw - tmpfs tmpfs rw\n"
    "103 102 0:53 / /dev/pts rw - devpts devpts rw\n"
    "104 101 0:6 /null /proc/kcore ro - devtmpfs devtmpfs rw\n"
    "105 100 8:1 /srv/a\\040b /data\\134x rw shared:3 - ext4 /dev/sda1 rw\n";
const std::set<std::string> kHost = {"8:1", "0:6", "0:20"};

std::vector<MountEntry> parsed(std::string_view text) { return *parse_mountinfo(text); }

TEST(MountTable, FieldsAreReadAndEscapesUndone) {
  std::vector<MountEntry> mounts = parsed(kContainer);
  ASSERT_EQ(mounts.size(), 6u);
  EXPECT_EQ(mounts[5].id, 105);
  EXPECT_EQ(mounts[5].parent, 100);
  EXPECT_EQ(mounts[5].device, "8:1");
  EXPECT_EQ(mounts[5].root, "/srv/a b");
  EXPECT_EQ(mounts[5].mountpoint, "/data\\x");
  EXPECT_EQ(mounts[5].type, "ext4");
}

TEST(MountTable, ALineThatDoesNotParseIsNamed) {
  for (const char* line : {"nonsense", "1 2 0:1 / / rw - tmpfs", "x 2 0:1 / / rw - tmpfs t rw",
                           "1 x 0:1 / / rw - tmpfs t rw", "1 2 0:1 / / rw tmpfs t rw more words"}) {
    Result<std::vector<MountEntry>> mounts = parse_mountinfo(line);
    ASSERT_FALSE(mounts) << line;
    EXPECT_TRUE(mounts.error().is(Errc::corrupt));
    EXPECT_NE(mounts.error().to_string().find(line), std::string::npos);
  }
  EXPECT_TRUE(parse_mountinfo(""));
}

TEST(MountTable, HostMountsGetTheSourceThatTheRequestNames) {
  auto external = find_external_mounts(parsed(kContainer), kHost, {{"/data\\x", "/srv/a b"}});
  ASSERT_TRUE(external) << external.error().to_string();
  ASSERT_EQ(external->size(), 2u);
  EXPECT_TRUE((*external)[0].is_mask);
  EXPECT_EQ((*external)[0].source, "/dev/null");
  EXPECT_FALSE((*external)[1].is_mask);
  EXPECT_EQ((*external)[1].mountpoint, "/data\\x");
  EXPECT_EQ((*external)[1].source, "/srv/a b");
  EXPECT_NE((*external)[0].name, (*external)[1].name);
}

TEST(MountTable, AHostMountThatTheRequestDoesNotNameIsRefused) {
  auto external = find_external_mounts(parsed(kContainer), kHost, {{"/dat", "/srv"}});
  ASSERT_FALSE(external);
  EXPECT_TRUE(external.error().is(Errc::unsupported));
  EXPECT_NE(external.error().to_string().find("/data\\x"), std::string::npos);
}

TEST(MountTable, AFileSystemOfADeviceThatTheHostHasNotMountedIsRefused) {
  // What forged images could ask CRIU to mount.
  auto external = find_external_mounts(parsed("100 99 0:50 / / rw - overlay overlay rw\n"
                                              "106 100 8:2 / /mnt rw - ext4 /dev/sda2 rw\n"),
                                       kHost, {});
  ASSERT_FALSE(external);
  EXPECT_NE(external.error().to_string().find("/mnt"), std::string::npos);
}

TEST(MountTable, SourcesBelowARecursiveBind) {
  std::vector<HostMount> declared = {{"/data", "/srv"}, {"/data/inner", "/other"}, {"/", "/"}};
  EXPECT_EQ(source_of("/data", declared), "/srv");
  EXPECT_EQ(source_of("/data/a/b", declared), "/srv/a/b");
  EXPECT_EQ(source_of("/data/inner/c", declared), "/other/c");
  EXPECT_EQ(source_of("/database", declared), "/database");
  EXPECT_EQ(source_of("/x", {{"/data", "/srv"}}), "");
}
}  // namespace
}  // namespace gantry
