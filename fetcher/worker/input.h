// Streams of bytes, one stage reading from the one before: a descriptor, then a decompressor. Every
// stage is bounded; nothing is ever held whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "api/oci/digest.h"
#include "base/result.h"

namespace gantry::worker {
class Input {
 public:
  virtual ~Input() = default;
  // The next piece, valid until the next call; empty at the end.
  virtual Result<std::string_view> next() = 0;
};

struct InputLimits {
  uint64_t max_bytes = 1ull << 40;
  std::chrono::seconds stall{120};  // no byte for so long: Errc::timed_out
};

// Reads a descriptor (borrowed), hashing and counting; copies what it reads to `tee` when one is
// set.
class FdInput final : public Input {
 public:
  FdInput(int fd, InputLimits limits);
  Result<std::string_view> next() override;
  void set_tee(int fd) { tee_ = fd; }
  // Digest and count of everything read so far; once.
  oci::Digest digest() { return hasher_.finish(); }
  uint64_t count() const { return count_; }

 private:
  int fd_, tee_ = -1;
  InputLimits limits_;
  std::string buffer_;
  oci::Hasher hasher_;
  uint64_t count_ = 0;
};

// `other`: xz or bzip2, which no layer of an image is stored with.
enum class Compression { none, gzip, zstd, other };
// By the first bytes.
Compression detect_compression(std::string_view head);

class ArchiveFilter;

// The uncompressed bytes of `from`, whatever it is compressed with (gzip with any number of
// members, zstd with any number of frames, xz, bzip2 or nothing). Refuses bombs: more than
// max_bytes, or more than 1000 times what went in once 16 MiB came out. lzma is named in the error.
class Inflater final : public Input {
 public:
  enum class Digests { yes, no };
  Inflater(Input& from, uint64_t max_bytes, Digests digests = Digests::yes);
  ~Inflater() override;
  Result<std::string_view> next() override;
  // Reads as much as tells it.
  Result<Compression> detect();
  // From the first next() on: what is handed out goes there, too.
  void set_tee(int fd) { tee_ = fd; }
  // Known after the first next().
  Compression compression() const { return compression_; }
  oci::Digest digest() { return hasher_.finish(); }  // with Digests::yes
  uint64_t count() const { return out_; }

 private:
  struct Codec;
  struct Gzip;
  struct Zstd;
  Result<void> start();
  Result<std::string_view> decode();
  Result<std::string_view> next_raw();

  Input& from_;
  const Digests digests_;
  uint64_t max_bytes_, in_ = 0, out_ = 0;
  Compression compression_ = Compression::none;
  bool started_ = false, input_ended_ = false;
  std::string head_;          // bytes read to detect the compression
  std::string_view pending_;  // compressed bytes not yet consumed
  std::unique_ptr<Codec> codec_;
  std::unique_ptr<ArchiveFilter> filter_;
  int tee_ = -1;
  std::string buffer_;
  oci::Hasher hasher_;
};
}  // namespace gantry::worker
