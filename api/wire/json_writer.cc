#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "api/wire/json.h"

namespace gantry::wire {
namespace {
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// RapidJSON's output stream concept over a string.
struct StringSink {
  using Ch = char;
  std::string& out;
  void Put(char c) { out.push_back(c); }
  void Flush() {}
};
using Writer = rapidjson::Writer<StringSink>;

class Walker {
 public:
  explicit Walker(std::string& out) : sink_{out}, writer_(sink_) {}

  void write(const Message& message) {
    const auto* descriptor = message.GetDescriptor();
    const Reflection* reflection = message.GetReflection();
    writer_.StartObject();
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor* field = descriptor->field(i);
      if (field->is_repeated()) {
        const int size = reflection->FieldSize(message, field);
        if (size == 0) continue;
        key(field->name());
        if (field->is_map()) {
          write_map(message, field, size);
        } else {
          writer_.StartArray();
          for (int n = 0; n < size; ++n) write_element(message, field, n);
          writer_.EndArray();
        }
      } else if (reflection->HasField(message, field) ||
                 (field->has_default_value() && !field->options().deprecated())) {
        key(field->name());
        write_single(message, field);
      }
    }
    writer_.EndObject();
  }

 private:
  void key(const std::string& name) {
    writer_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size()));
  }
  void string(std::string_view text) {
    writer_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
  void text(const std::string& value) {
    const bool ascii = std::all_of(value.begin(), value.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    string(ascii ? std::string_view(value) : std::string_view(scratch_ = to_valid_utf8(value)));
  }
  void number(double value) {
    if (std::isfinite(value)) {
      writer_.Double(value);
    } else {
      string(std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    }
  }
  void string_or_bytes(const FieldDescriptor* field, const std::string& value) {
    if (field->type() == FieldDescriptor::TYPE_BYTES) {
      string(scratch_ = to_base64(value));
    } else {
      text(value);
    }
  }

  void write_single(const Message& m, const FieldDescriptor* f) {
    const Reflection* r = m.GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return void(writer_.Int(r->GetInt32(m, f)));
      case FieldDescriptor::CPPTYPE_INT64:
        return void(writer_.Int64(r->GetInt64(m, f)));
      case FieldDescriptor::CPPTYPE_UINT32:
        return void(writer_.Uint(r->GetUInt32(m, f)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return void(writer_.Uint64(r->GetUInt64(m, f)));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return number(r->GetDouble(m, f));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return number(static_cast<double>(r->GetFloat(m, f)));
      case FieldDescriptor::CPPTYPE_BOOL:
        return void(writer_.Bool(r->GetBool(m, f)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return string(r->GetEnum(m, f)->name());
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string storage;
        return string_or_bytes(f, r->GetStringReference(m, f, &storage));
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return write(r->GetMessage(m, f));
    }
  }

  void write_element(const Message& m, const FieldDescriptor* f, int i) {
    const Reflection* r = m.GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return void(writer_.Int(r->GetRepeatedInt32(m, f, i)));
      case FieldDescriptor::CPPTYPE_INT64:
        return void(writer_.Int64(r->GetRepeatedInt64(m, f, i)));
      case FieldDescriptor::CPPTYPE_UINT32:
        return void(writer_.Uint(r->GetRepeatedUInt32(m, f, i)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return void(writer_.Uint64(r->GetRepeatedUInt64(m, f, i)));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return number(r->GetRepeatedDouble(m, f, i));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return number(static_cast<double>(r->GetRepeatedFloat(m, f, i)));
      case FieldDescriptor::CPPTYPE_BOOL:
        return void(writer_.Bool(r->GetRepeatedBool(m, f, i)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return string(r->GetRepeatedEnum(m, f, i)->name());
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string storage;
        return string_or_bytes(f, r->GetRepeatedStringReference(m, f, i, &storage));
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return write(r->GetRepeatedMessage(m, f, i));
    }
  }

  // Our maps have string keys. Sorted: equal messages give equal text.
  void write_map(const Message& m, const FieldDescriptor* f, int size) {
    const FieldDescriptor* key_field = f->message_type()->map_key();
    const FieldDescriptor* value_field = f->message_type()->map_value();
    std::vector<std::pair<std::string, const Message*>> entries;
    for (int i = 0; i < size; ++i) {
      const Message& entry = m.GetReflection()->GetRepeatedMessage(m, f, i);
      entries.emplace_back(entry.GetReflection()->GetString(entry, key_field), &entry);
    }
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    writer_.StartObject();
    for (const auto& [name, entry] : entries) {
      key(to_valid_utf8(name));
      write_single(*entry, value_field);
    }
    writer_.EndObject();
  }

  StringSink sink_;
  Writer writer_;
  std::string scratch_;
};
}  // namespace

void append_json(const Message& message, std::string& out) { Walker(out).write(message); }

std::string to_json(const Message& message) {
  std::string out;
  append_json(message, out);
  return out;
}
}  // namespace gantry::wire
