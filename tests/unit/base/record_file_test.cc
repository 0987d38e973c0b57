#include "base/record_file.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
TEST(RecordFile, RoundTrips) {
  std::string payload("any\0bytes", 9);
  auto back = unframe_record(frame_record(payload));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, payload);
}
TEST(RecordFile, EveryTruncationAndEveryFlippedBitIsNoticed) {
  std::string frame = frame_record("a record of a container");
  for (size_t n = 0; n < frame.size(); ++n) {
    EXPECT_FALSE(unframe_record(std::string_view(frame).substr(0, n))) << n;
  }
  for (size_t byte = 0; byte < frame.size(); ++byte) {
    // A lower version number is a legal older record; the rest must be noticed.
    if (byte >= 4 && byte < 8) continue;
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = frame;
      bad[byte] = static_cast<char>(bad[byte] ^ (1 << bit));
      EXPECT_FALSE(unframe_record(bad)) << byte << "." << bit;
    }
  }
}
TEST(RecordFile, ANewerVersionIsRefusedByName) {
  auto r = unframe_record(frame_record("x", kRecordVersion + 1));
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(Errc::unsupported));
}
}  // namespace
}  // namespace gantry
