#include "executor/negotiation.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>

#include "api/wire/json.h"
#include "base/str.h"

namespace gantry {
namespace {
constexpr std::string_view kJson = "application/json";
constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kRecordIo = "application/recordio";

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}
std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}
std::string media_type(std::string_view value) {
  return lower(trim(value.substr(0, value.find(';'))));
}
// "q=0", "q=0.0" … among the parameters of one entry.
bool is_excluded(std::string_view parameters) {
  while (!parameters.empty()) {
    const size_t end = std::min(parameters.find(';'), parameters.size());
    const std::string one = lower(trim(parameters.substr(0, end)));
    if (one.starts_with("q=") && one.find_first_not_of("0.", 2) == std::string::npos) return true;
    parameters.remove_prefix(std::min(end + 1, parameters.size()));
  }
  return false;
}

std::optional<Encoding> encoding_of(std::string_view type) {
  if (type == kJson) return Encoding::json;
  if (type == kProtobuf) return Encoding::protobuf;
  return std::nullopt;
}
std::optional<Encoding> accepted_encoding(const std::string* header) {
  if (accepts(header, kJson)) return Encoding::json;
  if (accepts(header, kProtobuf)) return Encoding::protobuf;
  return std::nullopt;
}
std::string choices(RecordIo recordio) {
  return cat(kJson, " or ", kProtobuf, recordio == RecordIo::yes ? cat(" or ", kRecordIo) : "");
}

std::optional<http::Response> negotiate_request(const http::Request& request, RecordIo recordio,
                                                Negotiated& out) {
  const std::string* type = request.header("Content-Type");
  if (type == nullptr) return http::Response::text(400, "Expecting 'Content-Type' to be present");
  const std::string* message = request.header("Message-Content-Type");
  if (recordio == RecordIo::yes && media_type(*type) == kRecordIo) {
    out.request_streams = true;
    if (message == nullptr) {
      return http::Response::text(
          400, "Expecting 'Message-Content-Type' to be set for streaming requests");
    }
    const auto encoding = encoding_of(media_type(*message));
    if (!encoding) {
      return http::Response::text(
          415, cat("Expecting 'Message-Content-Type' of ", choices(RecordIo::no)));
    }
    out.request = *encoding;
    return std::nullopt;
  }
  const auto encoding = encoding_of(media_type(*type));
  if (!encoding) {
    return http::Response::text(415, cat("Expecting 'Content-Type' of ", choices(recordio)));
  }
  if (message != nullptr && recordio == RecordIo::yes) {
    return http::Response::text(
        415, "'Message-Content-Type' is not expected to be set for non-streaming requests");
  }
  out.request = *encoding;
  return std::nullopt;
}

std::optional<http::Response> negotiate_answer(const http::Request& request, RecordIo recordio,
                                               Negotiated& out) {
  const std::string* accept = request.header("Accept");
  if (const auto encoding = accepted_encoding(accept)) {
    out.answer = *encoding;
    return std::nullopt;
  }
  if (recordio == RecordIo::no || !accepts(accept, kRecordIo)) {
    return http::Response::text(406, cat("Expecting 'Accept' to allow ", choices(recordio)));
  }
  out.answer_streams = true;
  const auto encoding = accepted_encoding(request.header("Message-Accept"));
  if (!encoding) {
    return http::Response::text(406,
                                cat("Expecting 'Message-Accept' to allow ", choices(RecordIo::no)));
  }
  out.answer = *encoding;
  return std::nullopt;
}
}  // namespace

std::string_view content_type(Encoding encoding) {
  return encoding == Encoding::json ? kJson : kProtobuf;
}

bool accepts(const std::string* header, std::string_view type) {
  if (header == nullptr || trim(*header).empty()) return true;
  for (std::string_view rest = *header; !rest.empty();) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::string range = media_type(entry);
    const bool matches = range == "*/*" || range == type ||
                         (range.ends_with("/*") &&
                          type.substr(0, range.size() - 1) == range.substr(0, range.size() - 1));
    const size_t semicolon = entry.find(';');
    if (matches &&
        (semicolon == std::string_view::npos || !is_excluded(entry.substr(semicolon + 1)))) {
      return true;
    }
  }
  return false;
}

std::variant<Negotiated, http::Response> negotiate(const http::Request& request,
                                                   RecordIo recordio) {
  if (request.method != "POST") {
    http::Response refusal = http::Response::text(
        405, cat("Expecting one of { 'POST' }, but received '", request.method, "'"));
    refusal.headers.emplace_back("Allow", "POST");
    return refusal;
  }
  Negotiated out;
  if (auto refusal = negotiate_request(request, recordio, out)) return std::move(*refusal);
  if (auto refusal = negotiate_answer(request, recordio, out)) return std::move(*refusal);
  return out;
}

Result<void> decode(Encoding encoding, std::string_view body, google::protobuf::Message& out) {
  const std::string& name = out.GetDescriptor()->name();
  if (encoding == Encoding::protobuf) {
    return wire::from_binary(body, out).context("Failed to parse body into ", name, " protobuf");
  }
  auto result = wire::from_json(body, out);
  if (result) return result;
  if (result.error().is(Errc::corrupt)) {
    return std::move(result).context("Failed to parse body into JSON");
  }
  return std::move(result).context("Failed to convert JSON into ", name, " protobuf");
}

std::string encode(Encoding encoding, const google::protobuf::Message& message) {
  return encoding == Encoding::json ? wire::to_json(message) : message.SerializeAsString();
}

http::Response answer(Encoding encoding, const google::protobuf::Message& message) {
  return {200, std::string(content_type(encoding)), encode(encoding, message), {}};
}
}  // namespace gantry
