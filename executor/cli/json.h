// Small helpers over RapidJSON: reading answers leniently (a missing field is a default) and
// writing requests.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gantry::cli {
using Json = rapidjson::Value;
using JsonDocument = rapidjson::Document;

Result<JsonDocument> parse_json(std::string_view text, std::string_view what);

// A member by a path of names, "container_id.value"; null when any part is missing.
const Json* find(const Json& value, std::string_view path);
std::string text_of(const Json& value, std::string_view path, std::string_view otherwise = {});
double number_of(const Json& value, std::string_view path, double otherwise = 0);
int64_t integer_of(const Json& value, std::string_view path, int64_t otherwise = 0);
bool flag_of(const Json& value, std::string_view path, bool otherwise = false);
// The elements of an array member; empty when there is none.
std::vector<const Json*> list_of(const Json& value, std::string_view path);

// What programs read of a container, whichever command printed it: "id", plain text, beside the
// executor's own fields. `container` has a container_id.
void add_id(Json& object, const Json& container, JsonDocument::AllocatorType& allocator);

// Valid whatever bytes are in it, as is JsonWriter::line().
std::string to_text(const Json& value);
std::string to_pretty_text(const Json& value);

std::string encode_base64(std::string_view bytes);
Result<std::string> decode_base64(std::string_view text);

// Writes one JSON text; keys and values in order.
class JsonWriter {
 public:
  JsonWriter() : writer_(buffer_) {}
  JsonWriter& open() {
    writer_.StartObject();
    return *this;
  }
  JsonWriter& open(std::string_view key) {
    name(key);
    return open();
  }
  JsonWriter& close() {
    writer_.EndObject();
    return *this;
  }
  JsonWriter& open_list(std::string_view key) {
    name(key);
    writer_.StartArray();
    return *this;
  }
  JsonWriter& close_list() {
    writer_.EndArray();
    return *this;
  }
  JsonWriter& item(std::string_view text) {
    writer_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    return *this;
  }
  JsonWriter& text(std::string_view key, std::string_view value) {
    name(key);
    return item(value);
  }
  JsonWriter& integer(std::string_view key, int64_t value) {
    name(key);
    writer_.Int64(value);
    return *this;
  }
  JsonWriter& number(std::string_view key, double value) {
    name(key);
    writer_.Double(value);
    return *this;
  }
  JsonWriter& boolean(std::string_view key, bool value) {
    name(key);
    writer_.Bool(value);
    return *this;
  }
  JsonWriter& element(const Json& json) {  // of a list
    json.Accept(writer_);
    return *this;
  }
  JsonWriter& value(std::string_view key, const Json& json) {
    name(key);
    json.Accept(writer_);
    return *this;
  }
  std::string take() const { return {buffer_.GetString(), buffer_.GetSize()}; }
  std::string line() const;  // to be printed

 private:
  void name(std::string_view key) {
    writer_.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  }
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> writer_;
};
}  // namespace gantry::cli
