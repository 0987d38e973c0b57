// Decompression: every codec, many members, cut and damaged streams, bombs.
#include "fetcher/worker/input.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

namespace gantry::worker {
namespace {
// Hands out a string in small, uneven pieces.
class Pieces final : public Input {
 public:
  Pieces(std::string bytes, size_t step) : bytes_(std::move(bytes)), step_(step) {}
  Result<std::string_view> next() override {
    size_t n = std::min(step_, bytes_.size() - at_);
    std::string_view piece = std::string_view(bytes_).substr(at_, n);
    at_ += n;
    return piece;
  }

 private:
  std::string bytes_;
  size_t step_, at_ = 0;
};

std::string gzip(const std::string& text) {
  z_stream z{};
  EXPECT_EQ(::deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  ::deflateEnd(&z);
  return out;
}
std::string zstd(const std::string& text) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  out.resize(::ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Outcome {
  std::string bytes, error;
  Compression compression;
  std::string digest;
};
Outcome inflate(std::string bytes, size_t step, uint64_t cap = 1u << 30) {
  Pieces pieces(std::move(bytes), step);
  Inflater inflater(pieces, cap);
  Outcome out{};
  for (;;) {
    auto piece = inflater.next();
    if (!piece) {
      out.error = piece.error().to_string();
      break;
    }
    if (piece->empty()) break;
    out.bytes += *piece;
  }
  out.compression = inflater.compression();
  out.digest = inflater.digest().to_string();
  return out;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 6000; ++i) text += cat(i * 7919 % 10007, i % 13 == 0 ? "\n" : " ");
  return text;
}

TEST(Inflater, EveryCodecInEveryPieceSize) {
  std::string text = sample();
  std::string digest = oci::Digest::of(text).to_string();
  for (size_t step : {size_t{1}, size_t{3}, size_t{1000}, size_t{1} << 20}) {
    for (const std::string& packed : {text, gzip(text), zstd(text)}) {
      Outcome got = inflate(packed, step);
      EXPECT_EQ(got.error, "") << step;
      EXPECT_TRUE(got.bytes == text) << step;
      EXPECT_EQ(got.digest, digest);
    }
  }
}

TEST(Inflater, ManyMembersFramesPaddingAndSkippableFrames) {
  std::string a = sample(), b = "second";
  std::string skippable("\x50\x2a\x4d\x18\x04\0\0\0abcd", 12);
  for (size_t step : {size_t{7}, size_t{1} << 18}) {
    EXPECT_TRUE(inflate(gzip(a) + gzip(b) + gzip(""), step).bytes == a + b);
    EXPECT_TRUE(inflate(gzip(b) + std::string(1000, '\0'), step).bytes == b);
    EXPECT_TRUE(inflate(skippable + zstd(a) + skippable + zstd(b), step).bytes == a + b);
  }
}

TEST(Inflater, CutAndDamagedStreamsAreErrors) {
  std::string text = sample();
  for (const std::string& packed : {gzip(text), zstd(text)}) {
    for (size_t cut : {size_t{8}, packed.size() / 2, packed.size() - 1}) {
      EXPECT_NE(inflate(packed.substr(0, cut), 1000).error, "") << cut;
    }
    std::string bad = packed;
    bad[bad.size() / 2] ^= 0x55;
    Outcome got = inflate(bad, 1000);
    EXPECT_TRUE(!got.error.empty() || got.bytes != text);
    EXPECT_NE(inflate(packed + "trailing garbage", 1000).error, "");
  }
}

TEST(Inflater, BombsAndForeignCodecs) {
  std::string zeros(40u << 20, '\0');
  EXPECT_NE(inflate(gzip(zeros), 4096).error.find("thousandfold"), std::string::npos);
  EXPECT_NE(inflate(zstd(zeros), 4096).error.find("thousandfold"), std::string::npos);
  EXPECT_NE(inflate(gzip(sample()), 4096, 1000).error.find("longer than 1000"), std::string::npos);
  EXPECT_NE(inflate(std::string("\xfd"
                                "7zXZ\0abc",
                                9),
                    100)
                .error,
            "");
  EXPECT_NE(inflate("BZh91AY&SY and nothing of it", 100).error, "");
  EXPECT_EQ(inflate("BZhardly", 100).bytes, "BZhardly");
  EXPECT_NE(inflate(std::string("\x5d\0\0abc", 6), 100).error.find("lzma"), std::string::npos);
  EXPECT_EQ(inflate("", 1).error, "");
}
}  // namespace
}  // namespace gantry::worker
