// Which encodings a request and its answer have, by Mesos' rules and in Mesos' words; and messages
// in and out of those encodings. Shared by the operator, scheduler and executor APIs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "executor/http/exchange.h"

namespace google::protobuf {
class Message;
}

namespace gantry {
enum class Encoding { json, protobuf };
std::string_view content_type(Encoding encoding);  // "application/json"

struct Negotiated {
  Encoding request = Encoding::json;
  bool request_streams = false;  // application/recordio with Message-Content-Type
  Encoding answer = Encoding::json;
  bool answer_streams = false;  // Accept: application/recordio with Message-Accept
};
// Whether an API knows RecordIO as a content type (the operator API) or not (scheduler, executor).
enum class RecordIo { yes, no };
// Or the answer that refuses: 405, 400, 415, 406.
std::variant<Negotiated, http::Response> negotiate(const http::Request& request, RecordIo recordio);

// Whether an Accept header (nullptr: absent, everything) takes a media type.
bool accepts(const std::string* header, std::string_view media_type);

// A body into `out`. The error is the text of a 400: "Failed to parse body into JSON: …", "Failed
// to convert JSON into Call protobuf: …", "Failed to parse body into Call protobuf: …".
Result<void> decode(Encoding encoding, std::string_view body, google::protobuf::Message& out);
std::string encode(Encoding encoding, const google::protobuf::Message& message);
http::Response answer(Encoding encoding, const google::protobuf::Message& message);
}  // namespace gantry
