#include "base/utf8.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
TEST(Utf8, BadBytesAreReplacedOneByOne) {
  EXPECT_EQ(to_valid_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"),
            "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
  EXPECT_EQ(to_valid_utf8("a\xff\"\xe2\x82\"\xc3"),
            "a\xef\xbf\xbd\"\xef\xbf\xbd\xef\xbf\xbd\"\xef\xbf\xbd");
  EXPECT_EQ(to_valid_utf8("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Utf8, WhatMayStillBecomeACharacter) {
  for (const auto& [text, length] :
       std::vector<std::pair<std::string_view, size_t>>{{"", 0},
                                                        {"a", 0},
                                                        {"\xc3", 1},
                                                        {"a\xc3\xa9", 0},
                                                        {"\xe2\x82", 2},
                                                        {"\xe2\x82\xac", 0},
                                                        {"\xf0\x9f\x98", 3},
                                                        {"\xf0\x9f\x98\x80", 0},
                                                        {"\xff", 0},
                                                        {"\x80\x80\x80\x80", 0}}) {
    EXPECT_EQ(incomplete_utf8(text), length) << text;
  }
}
}  // namespace
}  // namespace gantry
