#include "executor/cli/json.h"

#include <rapidjson/error/en.h>
#include <rapidjson/prettywriter.h>

#include "base/utf8.h"

namespace gantry::cli {
Result<JsonDocument> parse_json(std::string_view text, std::string_view what) {
  JsonDocument document;
  // Iterative: nesting costs heap, not our stack.
  document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  if (document.HasParseError()) {
    return Error(Errc::corrupt,
                 cat(what, " is not JSON: ", rapidjson::GetParseError_En(document.GetParseError()),
                     " At byte ", document.GetErrorOffset()));
  }
  return document;
}

const Json* find(const Json& value, std::string_view path) {
  const Json* at = &value;
  while (!path.empty()) {
    const size_t dot = path.find('.');
    const std::string_view name = path.substr(0, dot);
    path = dot == path.npos ? std::string_view() : path.substr(dot + 1);
    if (!at->IsObject()) return nullptr;
    const auto member = at->FindMember(
        Json(rapidjson::StringRef(name.data(), static_cast<rapidjson::SizeType>(name.size()))));
    if (member == at->MemberEnd()) return nullptr;
    at = &member->value;
  }
  return at;
}

std::string text_of(const Json& value, std::string_view path, std::string_view otherwise) {
  const Json* at = find(value, path);
  if (at == nullptr || !at->IsString()) return std::string(otherwise);
  return {at->GetString(), at->GetStringLength()};
}

double number_of(const Json& value, std::string_view path, double otherwise) {
  const Json* at = find(value, path);
  return at != nullptr && at->IsNumber() ? at->GetDouble() : otherwise;
}

int64_t integer_of(const Json& value, std::string_view path, int64_t otherwise) {
  const Json* at = find(value, path);
  if (at == nullptr || !at->IsNumber()) return otherwise;
  if (at->IsInt64()) return at->GetInt64();
  if (at->IsUint64()) return INT64_MAX;
  return static_cast<int64_t>(at->GetDouble());
}

bool flag_of(const Json& value, std::string_view path, bool otherwise) {
  const Json* at = find(value, path);
  return at != nullptr && at->IsBool() ? at->GetBool() : otherwise;
}

std::vector<const Json*> list_of(const Json& value, std::string_view path) {
  std::vector<const Json*> out;
  const Json* at = find(value, path);
  if (at == nullptr || !at->IsArray()) return out;
  for (const Json& element : at->GetArray()) out.push_back(&element);
  return out;
}

void add_id(Json& object, const Json& container, JsonDocument::AllocatorType& allocator) {
  const std::string id = text_of(container, "container_id.value");
  object.AddMember("id", Json(id.c_str(), allocator), allocator);
}

std::string to_text(const Json& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  value.Accept(writer);
  return to_valid_utf8({buffer.GetString(), buffer.GetSize()});
}

std::string to_pretty_text(const Json& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer(buffer);
  writer.SetIndent(' ', 2);
  value.Accept(writer);
  return to_valid_utf8({buffer.GetString(), buffer.GetSize()});
}

std::string JsonWriter::line() const {
  return to_valid_utf8({buffer_.GetString(), buffer_.GetSize()}) + "\n";
}

namespace {
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}
}  // namespace

std::string encode_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += i + j > bytes.size() ? '=' : kAlphabet[group >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

Result<std::string> decode_base64(std::string_view text) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int digit = digit_of(c);
    if (digit < 0) return Error(Errc::corrupt, "bytes in an answer are not base64");
    group = group << 6 | static_cast<uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(group >> bits & 0xff);
    }
  }
  return out;
}
}  // namespace gantry::cli
