#include "fetcher/worker/input.h"

#include <isa-l/igzip_lib.h>
#include <poll.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.h"
#include "fetcher/worker/archive_filter.h"

namespace gantry::worker {
namespace {
constexpr size_t kPiece = 256u << 10;
constexpr uint64_t kFreeExpansion = 16u << 20;
constexpr uint64_t kMaxRatio = 1000;
constexpr int kMaxZstdWindowLog = 27;  // 128 MiB: what `zstd --long` makes by default

Result<void> wait_readable(int fd, std::chrono::seconds stall) {
  pollfd p{fd, POLLIN, 0};
  int ready;
  do {
    ready = ::poll(&p, 1, static_cast<int>(stall.count() * 1000));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return Error::from_errno(errno, "wait for the stream");
  if (ready == 0) {
    return Error(Errc::timed_out, cat("the stream stood still for ", stall.count(), " s"));
  }
  return {};
}
}  // namespace

FdInput::FdInput(int fd, InputLimits limits) : fd_(fd), limits_(limits), buffer_(kPiece, '\0') {}

Result<std::string_view> FdInput::next() {
  ssize_t n;
  for (;;) {
    GANTRY_TRY(wait_readable(fd_, limits_.stall));
    n = ::read(fd_, buffer_.data(), buffer_.size());
    if (n >= 0) break;
    if (errno != EINTR && errno != EAGAIN) return Error::from_errno(errno, "read the stream");
  }
  std::string_view piece(buffer_.data(), static_cast<size_t>(n));
  count_ += piece.size();
  if (count_ > limits_.max_bytes) {
    return Error(Errc::exhausted, cat("the stream is longer than ", limits_.max_bytes, " bytes"));
  }
  hasher_.update(piece);
  if (tee_ >= 0) GANTRY_TRY(sys::write_all(tee_, piece).context("store the stream"));
  return piece;
}

Compression detect_compression(std::string_view head) {
  if (head.starts_with("\x1f\x8b")) return Compression::gzip;
  // A zstd frame, or one of the sixteen skippable frames that may come first.
  if (head.starts_with("\x28\xb5\x2f\xfd")) return Compression::zstd;
  if (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::zstd;
  }
  constexpr std::string_view kXz(
      "\xfd"
      "7zXZ\0",
      6);
  const bool is_bzip2 = head.starts_with("BZh") && head.size() >= 6 && head.substr(4, 2) == "1A";
  if (head.starts_with(kXz) || is_bzip2) return Compression::other;
  return Compression::none;
}

// Decodes from `in` into `out`; both advance. Returns whether the codec stands between two members,
// where the stream may end.
struct Inflater::Codec {
  virtual ~Codec() = default;
  virtual Result<void> decode(std::string_view& in, char*& out, size_t& room) = 0;
  bool at_boundary = true;
};

struct Inflater::Gzip final : Codec {
  Gzip() { start(); }
  void start() {
    ::isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
  }
  Result<void> decode(std::string_view& in, char*& out, size_t& room) override {
    if (at_boundary) {
      // Zero padding after the last member is common and legal for gzip(1).
      if (in[0] == '\0') {
        in.remove_prefix(std::min(in.find_first_not_of('\0'), in.size()));
        return {};
      }
      start();
      at_boundary = false;
    }
    state.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(in.data()));
    state.avail_in = static_cast<uint32_t>(in.size());
    state.next_out = reinterpret_cast<uint8_t*>(out);
    state.avail_out = static_cast<uint32_t>(room);
    int error = ::isal_inflate(&state);
    if (error != ISAL_DECOMP_OK) return Error(Errc::corrupt, cat("gzip stream: error ", error));
    in.remove_prefix(in.size() - state.avail_in);
    out += room - state.avail_out;
    room = state.avail_out;
    at_boundary = state.block_state == ISAL_BLOCK_FINISH;
    return {};
  }
  inflate_state state;
};

struct Inflater::Zstd final : Codec {
  Zstd() { ::ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, kMaxZstdWindowLog); }
  ~Zstd() override { ::ZSTD_freeDCtx(context); }
  Result<void> decode(std::string_view& in, char*& out, size_t& room) override {
    ZSTD_inBuffer source{in.data(), in.size(), 0};
    ZSTD_outBuffer target{out, room, 0};
    size_t left = ::ZSTD_decompressStream(context, &target, &source);
    if (::ZSTD_isError(left) != 0) {
      return Error(Errc::corrupt, cat("zstd stream: ", ::ZSTD_getErrorName(left)));
    }
    in.remove_prefix(source.pos);
    out += target.pos;
    room -= target.pos;
    at_boundary = left == 0;
    return {};
  }
  ZSTD_DCtx* context = ::ZSTD_createDCtx();
};

Inflater::Inflater(Input& from, uint64_t max_bytes, Digests digests)
    : from_(from), digests_(digests), max_bytes_(max_bytes) {}
Inflater::~Inflater() = default;

Result<void> Inflater::start() {
  started_ = true;
  while (head_.size() < 6) {
    std::string_view piece = GANTRY_TRY(from_.next());
    if (piece.empty()) {
      input_ended_ = true;
      break;
    }
    in_ += piece.size();
    head_.append(piece);
  }
  pending_ = head_;
  compression_ = detect_compression(head_);
  if (compression_ == Compression::gzip) codec_ = std::make_unique<Gzip>();
  if (compression_ == Compression::zstd) codec_ = std::make_unique<Zstd>();
  if (codec_) buffer_.resize(kPiece);
  if (compression_ == Compression::other) {
    filter_ = std::make_unique<ArchiveFilter>([this] { return next_raw(); });
  }
  if (head_.starts_with(std::string_view("\x5d\0\0", 3))) {
    return Error(Errc::unsupported,
                 "the stream is compressed with lzma; use gzip, zstd, xz, bzip2 or none");
  }
  return {};
}

Result<std::string_view> Inflater::decode() {
  char* out = buffer_.data();
  size_t room = buffer_.size();
  while (room > 0) {
    if (pending_.empty() && !input_ended_) {
      pending_ = GANTRY_TRY(from_.next());
      in_ += pending_.size();
      input_ended_ = pending_.empty();
    }
    if (pending_.empty()) {
      // The codec may hold output that did not fit before; it is asked until it has no more.
      size_t before = room;
      if (!codec_->at_boundary) {
        std::string_view nothing;
        GANTRY_TRY(codec_->decode(nothing, out, room));
      }
      if (room == before) {
        if (!codec_->at_boundary && room == buffer_.size()) {
          return Error(Errc::corrupt, "the compressed stream ends early");
        }
        break;
      }
      continue;
    }
    size_t input_before = pending_.size(), room_before = room;
    GANTRY_TRY(codec_->decode(pending_, out, room));
    if (pending_.size() == input_before && room == room_before) {
      return Error(Errc::corrupt, "the compressed stream makes no progress");
    }
    if (out != buffer_.data() && pending_.empty()) break;  // hand on what is there
  }
  return std::string_view(buffer_.data(), buffer_.size() - room);
}

Result<std::string_view> Inflater::next_raw() {
  if (!pending_.empty()) return std::exchange(pending_, {});
  if (input_ended_) return std::string_view();
  const std::string_view piece = GANTRY_TRY(from_.next());
  in_ += piece.size();
  input_ended_ = piece.empty();
  return piece;
}

Result<Compression> Inflater::detect() {
  if (!started_) GANTRY_TRY(start());
  return compression_;
}

Result<std::string_view> Inflater::next() {
  if (!started_) GANTRY_TRY(start());
  std::string_view piece;
  if (codec_) {
    piece = GANTRY_TRY(decode());
  } else {
    piece = GANTRY_TRY(filter_ ? filter_->next() : next_raw());
  }
  out_ += piece.size();
  if (out_ > max_bytes_) {
    return Error(Errc::exhausted, cat("uncompressed, it is longer than ", max_bytes_, " bytes"));
  }
  if (out_ > kFreeExpansion && out_ / kMaxRatio > in_) {
    return Error(Errc::exhausted, "it expands more than a thousandfold: a decompression bomb");
  }
  if (digests_ == Digests::yes) hasher_.update(piece);
  if (tee_ >= 0) GANTRY_TRY(sys::write_all(tee_, piece).context("store the stream"));
  return piece;
}
}  // namespace gantry::worker
