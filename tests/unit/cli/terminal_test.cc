#include "executor/cli/terminal.h"

#include <gtest/gtest.h>

namespace gantry::cli {
namespace {
TEST(DetachKeys, OnlyBothInARowLeave) {
  DetachKeys keys;
  EXPECT_EQ(keys.pass("plain\x11"), "plain\x11");
  EXPECT_EQ(keys.pass("a\x10"), "a");  // held back: it may be the first of two
  EXPECT_EQ(keys.pass("b"),
            "\x10"
            "b");
  EXPECT_EQ(keys.pass("\x10\x10"), "\x10");
  EXPECT_EQ(keys.pass("\x11"), std::nullopt);
  EXPECT_EQ(DetachKeys().pass("x\x10\x11y"), std::nullopt);
  EXPECT_EQ(DetachKeys().pass(""), "");
}
}  // namespace
}  // namespace gantry::cli
