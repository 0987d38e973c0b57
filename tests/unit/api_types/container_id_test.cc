#include "api/types/container_id.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
TEST(ContainerId, AcceptsMesosRuleAndNothingElse) {
  for (std::string good : {std::string("a"), std::string("web-1_x"), std::string(242, 'a'),
                           std::string("with space"), std::string("\xc3\xa9")}) {
    EXPECT_TRUE(ContainerId::parse(good)) << good;
  }
  for (std::string bad :
       {std::string(), std::string("."), std::string(".."), std::string("a.b"), std::string("a/b"),
        std::string("a\\b"), std::string("a\nb"), std::string("a\0b", 3), std::string(243, 'a'),
        std::string(1 << 20, 'a'), std::string("\x7f")}) {
    auto r = ContainerId::parse(bad);
    ASSERT_FALSE(r) << bad.substr(0, 20);
    EXPECT_NE(r.error().to_string().find("container_id.value"), std::string::npos);
  }
}
TEST(ContainerId, DirectoryNamesAreSafeAndDistinct) {
  EXPECT_EQ(ContainerId::parse("web-1_x")->directory_name(), "web-1_x");
  std::string odd = ContainerId::parse("with space")->directory_name();
  EXPECT_EQ(odd.size(), 25u);
  EXPECT_EQ(odd[0], '%');
  EXPECT_NE(odd, ContainerId::parse("with  space")->directory_name());
  EXPECT_EQ(ContainerId::parse(std::string(65, 'a'))->directory_name()[0], '%');
}
TEST(ContainerId, NestedIdsAreNotTheirParents) {
  auto parent = ContainerId::parse("pod");
  auto child = ContainerId::parse("c", *parent);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->to_string(), "pod.c");
  EXPECT_NE(*child, *ContainerId::parse("c"));
  EXPECT_NE(child->hash(), ContainerId::parse("c")->hash());
  EXPECT_EQ(*ContainerId::parse_path("pod.c"), *child);
  EXPECT_EQ(ContainerId::parse_path("a.b.c")->parent()->to_string(), "a.b");
  EXPECT_EQ(*ContainerId::parse_path("pod"), *parent);
  for (const char* wrong : {"", ".", "pod.", ".c", "pod..c"}) {
    EXPECT_FALSE(ContainerId::parse_path(wrong)) << wrong;
  }
}
TEST(ContainerId, GeneratedIdsAre32HexDigits) {
  std::string id = ContainerId::generate().value();
  EXPECT_EQ(id.size(), 32u);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id, ContainerId::generate().value());
}
}  // namespace
}  // namespace gantry
