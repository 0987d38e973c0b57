#include "executor/cli/terminal.h"

#include <gtest/gtest.h>

namespace gantry::cli {
namespace {
constexpr char kBoth[] = "\x10\x11";

TEST(DetachKeys, AreWhatWasAskedFor) {
  EXPECT_EQ(parse_detach_keys(kDetachKeys).value(), kBoth);
  EXPECT_EQ(parse_detach_keys("ctrl-a,d").value(),
            "\x01"
            "d");
  EXPECT_EQ(parse_detach_keys("ctrl-[").value(), "\x1b");
  EXPECT_EQ(parse_detach_keys("").value(), "");
  for (const char* wrong : {"ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-p ctrl-q"}) {
    EXPECT_FALSE(parse_detach_keys(wrong)) << wrong;
  }
  DetachKeys keys("aab");
  EXPECT_EQ(keys.pass("aa"), "");
  EXPECT_EQ(keys.pass("a"), "a");  // the last two may still be the first two
  EXPECT_EQ(keys.pass("b"), std::nullopt);
  EXPECT_EQ(DetachKeys("").pass("\x10\x11"), "\x10\x11");
}

TEST(DetachKeys, OnlyBothInARowLeave) {
  DetachKeys keys(kBoth);
  EXPECT_EQ(keys.pass("plain\x11"), "plain\x11");
  EXPECT_EQ(keys.pass("a\x10"), "a");  // held back: it may be the first of two
  EXPECT_EQ(keys.pass("b"),
            "\x10"
            "b");
  EXPECT_EQ(keys.pass("\x10\x10"), "\x10");
  EXPECT_EQ(keys.pass("\x11"), std::nullopt);
  EXPECT_EQ(DetachKeys(kBoth).pass("x\x10\x11y"), std::nullopt);
  EXPECT_EQ(DetachKeys(kBoth).pass(""), "");
}
}  // namespace
}  // namespace gantry::cli
