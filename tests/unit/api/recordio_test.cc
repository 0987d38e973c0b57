#include "api/wire/recordio.h"

#include <gtest/gtest.h>

namespace gantry::wire {
namespace {
std::vector<std::string> drain(RecordDecoder& decoder) {
  std::vector<std::string> out;
  std::string record;
  while (true) {
    auto got = decoder.next(record);
    if (!got || *got == RecordDecoder::Got::need_more) return out;
    out.push_back(record);
  }
}

TEST(RecordIo, EncodesAsMesos) {
  EXPECT_EQ(encode_record(R"({"type":"HEARTBEAT"})"), "20\n{\"type\":\"HEARTBEAT\"}");
  EXPECT_EQ(encode_record(""), "0\n");
}
TEST(RecordIo, RecordsShareAndSpanPieces) {
  const std::string all = encode_record("one") + encode_record("") + encode_record("three\n4\n");
  const std::vector<std::string> expected = {"one", "", "three\n4\n"};
  for (size_t step = 1; step <= all.size(); ++step) {
    RecordDecoder decoder(100);
    std::vector<std::string> got;
    for (size_t at = 0; at < all.size(); at += step) {
      decoder.feed(std::string_view(all).substr(at, step));
      for (auto& record : drain(decoder)) got.push_back(record);
    }
    EXPECT_EQ(got, expected) << "in steps of " << step;
    EXPECT_TRUE(decoder.is_at_border());
  }
}
TEST(RecordIo, KnowsWhenARecordIsUnfinished) {
  RecordDecoder decoder(100);
  EXPECT_TRUE(decoder.is_at_border());
  decoder.feed("5\nabc");
  EXPECT_TRUE(drain(decoder).empty());
  EXPECT_FALSE(decoder.is_at_border());
}
TEST(RecordIo, ABadHeaderBreaksItForGood) {
  for (const char* bad : {"x", "-1\n", "+1\n", " 1\n", "1 \n", "\n", "0x1\n",
                          "123456789012345678901", "99999999999999999999\n"}) {
    RecordDecoder decoder(100);
    std::string record;
    decoder.feed(bad);
    EXPECT_TRUE(decoder.next(record).error().is(Errc::corrupt)) << bad;
    decoder.feed(encode_record("fine"));
    EXPECT_TRUE(decoder.next(record).error().is(Errc::corrupt)) << bad;
    EXPECT_FALSE(decoder.is_at_border());
  }
}
TEST(RecordIo, ARecordAboveTheLimitIsRefusedBeforeItIsHeld) {
  RecordDecoder decoder(10);
  std::string record;
  decoder.feed("11\n");
  EXPECT_EQ(decoder.next(record).error().to_string(),
            "recordio: a record of 11 bytes, at most 10 are accepted");
}
}  // namespace
}  // namespace gantry::wire
