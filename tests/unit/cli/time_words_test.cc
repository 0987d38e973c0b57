#include "executor/cli/time_words.h"

#include <gtest/gtest.h>

#include "executor/cli/command.h"

namespace gantry::cli {
namespace {
TEST(TimeWords, AsFarAsNanosecondsGo) {
  EXPECT_EQ(parse_time("--since", "1.5").value_or(int64_t{0}), 1'500'000'000);
  EXPECT_EQ(parse_time("--since", "@9200000000").value_or(int64_t{0}), 9'200'000'000'000'000'000);
  EXPECT_TRUE(parse_time("--since", "2262-01-01T00:00:00Z"));
  for (const char* text : {"99999999999999999999", "@99999999999", "@-99999999999", "9999999999h",
                           "3000-01-01T00:00:00Z", "2262-12-01"}) {
    const Result<int64_t> time = parse_time("--since", text);
    ASSERT_FALSE(time) << text;
    EXPECT_TRUE(is_usage_error(time.error())) << text;
  }
}
}  // namespace
}  // namespace gantry::cli
