// Framing of persisted records: magic, version, length, CRC-32C, payload (docs/adr/0004).
// Knows nothing of what the payload means. A frame that does not check is Errc::corrupt, never
// fatal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/atomic_file.h"
#include "base/result.h"

namespace gantry {
inline constexpr uint32_t kRecordVersion = 1;

std::string frame_record(std::string_view payload, uint32_t version = kRecordVersion);
// The payload of exactly one frame. A newer version than ours is Errc::unsupported.
Result<std::string> unframe_record(std::string_view frame);

Result<void> write_record(int dir_fd, std::string_view name, std::string_view payload,
                          Durability durability);
Result<std::string> read_record(int dir_fd, const char* name);
// Of an error of reading or parsing a record: whether it says that the record is no good. A lack of
// descriptors or memory says nothing about it.
bool is_damage(const Error& error);
// Moves a damaged record aside as NAME.damaged-TIME so that the rest goes on.
Result<void> quarantine_record(int dir_fd, std::string_view name);
}  // namespace gantry
