#include "base/record_file.h"

#include <fcntl.h>

#include <boost/crc.hpp>

#include <cstring>

#include "base/sys.h"

namespace gantry {
namespace {
constexpr char kMagic[4] = {'G', 'N', 'T', 'R'};
struct Header {
  char magic[4];
  uint32_t version;
  uint32_t length;
  uint32_t crc;
};
constexpr size_t kMaxRecord = 32u << 20;

uint32_t crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}
}  // namespace

std::string frame_record(std::string_view payload, uint32_t version) {
  Header header{{}, version, static_cast<uint32_t>(payload.size()), crc32c(payload)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::string out(reinterpret_cast<const char*>(&header), sizeof header);
  out += payload;
  return out;
}

Result<std::string> unframe_record(std::string_view frame) {
  Header header;
  if (frame.size() < sizeof header)
    return Error(Errc::corrupt, "record is shorter than its header");
  std::memcpy(&header, frame.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return Error(Errc::corrupt, "record does not begin with GNTR");
  }
  if (header.version > kRecordVersion) {
    return Error(Errc::unsupported, cat("record of version ", header.version,
                                        ", this program reads up to ", kRecordVersion));
  }
  std::string_view payload = frame.substr(sizeof header);
  if (payload.size() != header.length) {
    return Error(Errc::corrupt, cat("record has ", payload.size(), " bytes of ", header.length));
  }
  if (crc32c(payload) != header.crc) return Error(Errc::corrupt, "record fails its checksum");
  return std::string(payload);
}

Result<void> write_record(int dir_fd, std::string_view name, std::string_view payload,
                          Durability durability) {
  return write_file_atomically(dir_fd, name, frame_record(payload), durability);
}

namespace {
Result<std::string> read_frame(int dir_fd, const char* name) {
  // O_NONBLOCK: a FIFO in its place is a damaged record, not a wait.
  UniqueFd fd = GANTRY_TRY(sys::open_at(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
  return sys::read_all(fd.get(), kMaxRecord).context("read ", name);
}
}  // namespace

Result<std::string> read_record(int dir_fd, const char* name) {
  Result<std::string> frame = read_frame(dir_fd, name);
  // A disk may give it the second time.
  if (!frame && frame.error().is_errno(EIO)) frame = read_frame(dir_fd, name);
  if (!frame) return std::move(frame).error();
  return unframe_record(*frame).context("record ", name);
}

bool is_damage(const Error& error) {
  return error.code().category() == gantry_category() || error.is_errno(EIO);
}

Result<void> quarantine_record(int dir_fd, std::string_view name) {
  std::string from(name);
  std::string to = cat(name, ".damaged-", sys::realtime_ns());
  if (::renameat(dir_fd, from.c_str(), dir_fd, to.c_str()) != 0) {
    return Error::from_errno(errno, cat("move aside ", name));
  }
  return {};
}
}  // namespace gantry
