#include "base/result.h"

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace gantry {
namespace {
Result<int> half(int n) {
  if (n % 2 != 0) return Error(Errc::invalid, cat(n, " is odd"));
  return n / 2;
}
Result<int> quarter(int n) {
  int h = GANTRY_TRY(half(n).context("first half"));
  return half(h).context("second half of ", n);
}

TEST(Result, ErrorReadsFromTheOutermostContextToTheCause) {
  auto r = quarter(6);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().to_string(), "second half of 6: 3 is odd");
  EXPECT_TRUE(r.error().is(Errc::invalid));
}
TEST(Result, ErrnoSaysTheKernelsWord) {
  Error e = Error::from_errno(ENOENT, "open /x").context("launch web");
  EXPECT_EQ(e.to_string(), "launch web: open /x: No such file or directory");
  EXPECT_TRUE(e.is_errno(ENOENT));
  EXPECT_FALSE(e.is(Errc::not_found));
}
TEST(Result, ValuesMoveThrough) {
  auto r = quarter(8);
  ASSERT_TRUE(r);
  EXPECT_EQ(*r, 2);
  Result<std::unique_ptr<int>> owned(std::make_unique<int>(3));
  EXPECT_EQ(*std::move(owned).value(), 3);
}
TEST(Result, VoidIsSmallAndCarriesErrors) {
  EXPECT_LE(sizeof(Result<void>), 16u);
  Result<void> fine;
  EXPECT_TRUE(fine);
  Result<void> bad = Error(Errc::busy, "in use");
  EXPECT_EQ(std::move(bad).context("remove").error().to_string(), "remove: in use");
}
TEST(UniqueFd, MoveAssignToItselfKeepsTheDescriptor) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  UniqueFd a(fds[0]), b(fds[1]);
  UniqueFd& same = a;
  a = std::move(same);
  EXPECT_EQ(a.get(), fds[0]);
  a = std::move(b);
  EXPECT_EQ(a.get(), fds[1]);
  EXPECT_FALSE(b.valid());
}
TEST(ParseNumber, AcceptsOnlyTheWholeText) {
  uint16_t port = 0;
  EXPECT_TRUE(parse_number("65535", port));
  EXPECT_EQ(port, 65535);
  for (const char* bad : {"", "65536", "-1", " 1", "1 ", "0x1", "1.0"}) {
    EXPECT_FALSE(parse_number(bad, port)) << bad;
  }
}
}  // namespace
}  // namespace gantry
