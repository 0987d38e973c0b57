#include "executor/cli/json.h"

#include <gtest/gtest.h>

namespace gantry::cli {
namespace {
TEST(Json, PathsAreLenient) {
  const auto document =
      parse_json(R"({"a":{"b":[{"c":"x"},{"c":7}],"n":18446744073709551615,"d":1.5}})", "it");
  ASSERT_TRUE(document);
  EXPECT_EQ(list_of(*document, "a.b").size(), 2u);
  EXPECT_EQ(text_of(*list_of(*document, "a.b")[0], "c"), "x");
  EXPECT_EQ(text_of(*list_of(*document, "a.b")[1], "c", "none"), "none");
  EXPECT_EQ(integer_of(*document, "a.n"), INT64_MAX);
  EXPECT_EQ(number_of(*document, "a.d"), 1.5);
  EXPECT_EQ(find(*document, "a.b.c"), nullptr);
  EXPECT_FALSE(parse_json("{", "it"));
}

TEST(Json, DeepNestingIsNotOurStack) {
  const std::string deep(200'000, '[');
  EXPECT_FALSE(parse_json(deep, "it"));
}

TEST(Json, Base64BothWays) {
  for (const auto& [plain, coded] : std::vector<std::pair<std::string, std::string>>{
           {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"out\n", "b3V0Cg=="}}) {
    EXPECT_EQ(encode_base64(plain), coded);
    const auto back = decode_base64(coded);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, plain);
  }
  std::string every(256, '\0');
  for (size_t i = 0; i < 256; ++i) every[i] = static_cast<char>(i);
  EXPECT_EQ(decode_base64(encode_base64(every)).value_or(std::string()), every);
  EXPECT_FALSE(decode_base64("a b"));
}

TEST(Json, WhatIsPrintedIsValidWhateverBytesAreInIt) {
  JsonWriter writer;
  writer.open().text("text", "\xff").close();
  EXPECT_EQ(writer.line(), "{\"text\":\"\xef\xbf\xbd\"}\n");
  EXPECT_EQ(to_text(Json("\xc3")), "\"\xef\xbf\xbd\"");
  EXPECT_EQ(to_pretty_text(Json("\xc3")), "\"\xef\xbf\xbd\"");
}
}  // namespace
}  // namespace gantry::cli
