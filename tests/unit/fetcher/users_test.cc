#include "fetcher/worker/users.h"

#include <gtest/gtest.h>

namespace gantry::worker {
namespace {
constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "# comment:x:1:1::/:/\nshort:x:1\nbad:x:abc:1::/:/\n"
    "web:x:33:34::/srv:/bin/sh\n"
    "1000:x:0:0::/evil:/bin/sh\n"
    "odd:x:70:70::not-absolute:/\nweb:x:99:99::/second:/";
constexpr std::string_view kGroup =
    "root:x:0:\nweb:x:34:\nmore:x:50:a,web,b\nalso:x:51:web\nown:x:34:web\n7:x:8:\n";

std::string resolve(std::string_view text, std::vector<std::string> more = {}) {
  auto got = resolve_user(kPasswd, kGroup, {std::string(text), std::move(more)});
  if (!got) return "error";
  std::string out = cat(got->uid, ":", got->gid, " ", got->home);
  for (gid_t g : got->groups) out += cat(" +", g);
  return out;
}

TEST(Users, AsDockerFindsThem) {
  EXPECT_EQ(resolve(""), "0:0 /root");
  EXPECT_EQ(resolve("root"), "0:0 /root");
  EXPECT_EQ(resolve("web"), "33:34 /srv +50 +51");  // the first entry; the own group is no extra
  EXPECT_EQ(resolve("web:more"), "33:50 /srv");     // a given group takes the database's away
  EXPECT_EQ(resolve("33"), "33:34 /srv +50 +51");
  EXPECT_EQ(resolve("1:1"), "1:1 /");
  EXPECT_EQ(resolve("1:"), "1:0 /");
  EXPECT_EQ(resolve(":34"), "0:34 /root");
  EXPECT_EQ(resolve("web:77"), "33:77 /srv");
  EXPECT_EQ(resolve("odd"), "70:70 /");
  EXPECT_EQ(resolve("web", {"9", "more", "34"}), "33:34 /srv +50 +51 +9");
}

TEST(Users, ANumberIsNeverAName) {
  EXPECT_EQ(resolve("1000"), "1000:0 /");  // CVE-2016-3697
  EXPECT_EQ(resolve("web:7"), "33:7 /srv");
  EXPECT_EQ(resolve("00"), "0:0 /root");
}

TEST(Users, OutOfRangeAndUnknownAreRefused) {
  for (auto bad : {"-1", "4294967295", "4294967296", "99999999999999999999", "0x0", " 0", "nobody",
                   "web:none", "1:4294967295", "short", "bad"}) {
    EXPECT_EQ(resolve(bad), "error") << bad;
  }
  EXPECT_EQ(resolve("2147483648"), "2147483648:0 /");  // CVE-2024-40635: no wrap to 0
}
}  // namespace
}  // namespace gantry::worker
