#include "fetcher/worker_message.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace gantry {
namespace {
TEST(Fields, SurviveTheWire) {
  Fields in;
  in.add("a", std::string("x\0y", 3));
  in.add("a", "");
  in.add_number("n", uint64_t{1} << 63);
  auto out = Fields::decode(in.encode());
  ASSERT_TRUE(out);
  EXPECT_EQ(out->all("a"), (std::vector<std::string>{std::string("x\0y", 3), ""}));
  EXPECT_EQ(*out->number<uint64_t>("n"), uint64_t{1} << 63);
  EXPECT_FALSE(out->number<int>("n"));
  EXPECT_FALSE(out->number<int>("missing"));
}

TEST(Fields, EveryPrefixOfAMessageIsRefusedOrShorter) {
  Fields in;
  in.add("name", "value");
  in.add("other", "more");
  std::string bytes = in.encode();
  for (size_t n = 0; n < bytes.size(); ++n) {
    auto out = Fields::decode(bytes.substr(0, n));
    if (out) EXPECT_LT(out->items().size(), 2u);
  }
  EXPECT_FALSE(
      Fields::decode(std::string("\xff\xff\xff\xff"
                                 "abcd")));
}

TEST(Fields, AnErrorKeepsItsKindAndItsText) {
  Fields ours, kernel;
  add_error(ours, Error(Errc::exhausted, "too much").context("layer x"));
  auto back = check_error(ours);
  ASSERT_FALSE(back);
  EXPECT_TRUE(back.error().is(Errc::exhausted));
  EXPECT_EQ(back.error().to_string(), "layer x: too much");
  Error original = Error::from_errno(ENOSPC, "write");
  add_error(kernel, original);
  back = check_error(kernel);
  ASSERT_FALSE(back);
  EXPECT_TRUE(back.error().is_errno(ENOSPC));
  EXPECT_EQ(back.error().to_string(), original.to_string());
  Fields hostile;
  hostile.add("error", "a\x1b[2Jb\n");
  hostile.add("error.kind", "gantry");
  hostile.add("error.code", "9999");
  back = check_error(hostile);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().to_string().find('\x1b'), std::string::npos);
}
}  // namespace
}  // namespace gantry
