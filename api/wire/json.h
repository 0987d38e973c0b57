// Protobuf messages as JSON and back, by Mesos' mapping: field names in snake_case, enums by name,
// bytes in base64, 64-bit integers as numbers, maps as objects, null as absent, unknown fields
// ignored. One walker over descriptors on RapidJSON's SAX parser and writer; no DOM.
//
// Two rules of our own: a known field given twice is an error, and inside Gantry's own messages
// (names beginning with Gantry) unknown fields and unknown enum names are errors too, because a
// restriction that an older executor does not know must not be dropped silently.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace google::protobuf {
class Message;
}

namespace gantry::wire {
// Objects and arrays deeper than this are refused (CVE-2018-11793 and its family).
inline constexpr int kMaxJsonDepth = 64;

// Errc::corrupt: not JSON; the text says where. Errc::invalid: JSON, but not this message; the text
// begins with the path of the field ("launch_container.command.value: …").
Result<void> from_json(std::string_view json, google::protobuf::Message& out);
// The same for protobuf's own format; `required` fields are checked by name, and so are unknown
// fields inside Gantry's messages.
Result<void> from_binary(std::string_view bytes, google::protobuf::Message& out);

// Set fields in the order of declaration, and those with a default that are not deprecated, as
// Mesos does. Strings that are not UTF-8 get replacement characters.
std::string to_json(const google::protobuf::Message& message);
void append_json(const google::protobuf::Message& message, std::string& out);

std::string to_base64(std::string_view bytes);
// Standard alphabet with padding; nothing else.
Result<std::string> from_base64(std::string_view text);
// Every invalid sequence becomes U+FFFD.
std::string to_valid_utf8(std::string_view text);
}  // namespace gantry::wire
