#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "api/wire/json.h"

namespace gantry::wire {
namespace {
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Gantry's own messages, and messages inside them ("gantry.wire.GantrySpec.Mount").
bool is_strict(const Descriptor* descriptor) {
  for (; descriptor != nullptr; descriptor = descriptor->containing_type()) {
    if (descriptor->name().starts_with("Gantry")) return true;
  }
  return false;
}

// A JSON scalar on its way into a field.
struct Scalar {
  enum class Kind { boolean, signed_number, unsigned_number, real, string } kind;
  bool boolean = false;
  int64_t integer = 0;
  uint64_t natural = 0;
  double real = 0;
  std::string_view string = {};
};

std::string_view expectation(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "an integer";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "an integer >= 0";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "one of its names as a string";
    case FieldDescriptor::CPPTYPE_STRING:
      return field->type() == FieldDescriptor::TYPE_BYTES ? "a string of base64" : "a string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return "an object";
}

// An integer of type T out of a scalar; reals with an integral value and decimal strings count.
template <class T>
bool to_integer(const Scalar& in, T& out) {
  using Limits = std::numeric_limits<T>;
  switch (in.kind) {
    case Scalar::Kind::signed_number:
      if (!std::in_range<T>(in.integer)) return false;
      out = static_cast<T>(in.integer);
      return true;
    case Scalar::Kind::unsigned_number:
      if (!std::in_range<T>(in.natural)) return false;
      out = static_cast<T>(in.natural);
      return true;
    case Scalar::Kind::real:
      // 2^63 and 2^64 are exact as doubles; max() would round up to them.
      if (!(in.real >= static_cast<double>(Limits::min()) &&
            in.real < std::ldexp(1.0, Limits::digits)) ||
          in.real != std::trunc(in.real)) {
        return false;
      }
      out = static_cast<T>(in.real);
      return true;
    case Scalar::Kind::string:
      return parse_number(in.string, out);
    case Scalar::Kind::boolean:
      break;
  }
  return false;
}

bool to_double(const Scalar& in, double& out) {
  switch (in.kind) {
    case Scalar::Kind::signed_number:
      out = static_cast<double>(in.integer);
      return true;
    case Scalar::Kind::unsigned_number:
      out = static_cast<double>(in.natural);
      return true;
    case Scalar::Kind::real:
      out = in.real;
      return true;
    case Scalar::Kind::string: {
      if (in.string == "Infinity" || in.string == "-Infinity") {
        const double infinity = std::numeric_limits<double>::infinity();
        out = in.string[0] == '-' ? -infinity : infinity;
        return true;
      }
      if (in.string == "NaN") {
        out = std::numeric_limits<double>::quiet_NaN();
        return true;
      }
      const char* end = in.string.data() + in.string.size();
      const auto [stop, ec] = std::from_chars(in.string.data(), end, out);
      return ec == std::errc{} && stop == end && std::isfinite(out);
    }
    case Scalar::Kind::boolean:
      break;
  }
  return false;
}

// The SAX handler: a stack of the objects and arrays we are in.
class Builder {
 public:
  explicit Builder(Message& root) : root_(&root) {}

  bool Null() {
    if (skips_scalar()) return true;
    if (stack_.empty()) return fail("expected an object");
    if (top().is_array || top().is_map_object) return fail("null is no element");
    return true;  // absent
  }
  bool Bool(bool value) {
    Scalar s{Scalar::Kind::boolean};
    s.boolean = value;
    return scalar(s);
  }
  bool Int(int value) { return Int64(value); }
  bool Uint(unsigned value) { return Uint64(value); }
  bool Int64(int64_t value) {
    Scalar s{Scalar::Kind::signed_number};
    s.integer = value;
    return scalar(s);
  }
  bool Uint64(uint64_t value) {
    Scalar s{Scalar::Kind::unsigned_number};
    s.natural = value;
    return scalar(s);
  }
  bool Double(double value) {
    Scalar s{Scalar::Kind::real};
    s.real = value;
    return scalar(s);
  }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return false; }
  bool String(const char* text, rapidjson::SizeType length, bool) {
    Scalar s{Scalar::Kind::string};
    s.string = {text, length};
    return scalar(s);
  }

  bool StartObject() {
    if (!deeper()) return false;
    if (skips_composite()) return true;
    if (stack_.empty()) return push(root_, nullptr, false);
    Frame& frame = top();
    const FieldDescriptor* field = frame.field;
    if (frame.is_map_object) {  // a map's value that is a message
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return wrong_type(field);
      Message* value = frame.message->GetReflection()->MutableMessage(frame.message, field);
      return push(value, nullptr, false);
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return wrong_type(field);
    if (field->is_map()) return push_map(frame.message, field);
    const Reflection* reflection = frame.message->GetReflection();
    if (field->is_repeated()) {
      if (!frame.is_array) return fail(cat("expected an array of objects"));
      ++frame.index;
      return push(reflection->AddMessage(frame.message, field), nullptr, false);
    }
    if (reflection->HasField(*frame.message, field)) return fail("is given twice");
    return push(reflection->MutableMessage(frame.message, field), nullptr, false);
  }
  bool Key(const char* text, rapidjson::SizeType length, bool) {
    if (skip_depth_ > 0) return true;
    Frame& frame = top();
    const std::string name(text, length);
    if (frame.is_map_object) return map_key(frame, name);
    frame.field = frame.message->GetDescriptor()->FindFieldByName(name);
    if (frame.field == nullptr) {
      if (is_strict(frame.message->GetDescriptor())) {
        return fail(cat("has no field '", printable(name), "' in this version of gantry"));
      }
      skip_value_ = true;
    }
    return true;
  }
  bool EndObject(rapidjson::SizeType) {
    --depth_;
    if (skip_depth_ > 0) return --skip_depth_, true;
    stack_.pop_back();
    return true;
  }
  bool StartArray() {
    if (!deeper()) return false;
    if (skips_composite()) return true;
    if (stack_.empty()) return fail("expected an object");
    Frame& frame = top();
    const FieldDescriptor* field = frame.field;
    if (frame.is_array || frame.is_map_object || !field->is_repeated() || field->is_map()) {
      return fail(
          cat("expected ", field->is_map() ? "an object" : expectation(field), ", found an array"));
    }
    if (frame.message->GetReflection()->FieldSize(*frame.message, field) != 0) {
      return fail("is given twice");
    }
    return push(frame.message, field, true);
  }
  bool EndArray(rapidjson::SizeType) {
    --depth_;
    if (skip_depth_ > 0) return --skip_depth_, true;
    stack_.pop_back();
    return true;
  }

  const std::string& error() const { return error_; }

 private:
  struct Frame {
    Message* message;              // whose fields are being set; for a map: its current entry
    const FieldDescriptor* field;  // the current field; for an array: its own
    bool is_array = false;
    bool is_map_object = false;
    Message* map_owner = nullptr;
    const FieldDescriptor* map_field = nullptr;
    int index = -1;  // of the current element
  };

  Frame& top() { return stack_.back(); }
  // An unknown field's value is walked over without being looked at.
  bool skips_scalar() { return skip_depth_ > 0 || std::exchange(skip_value_, false); }
  bool skips_composite() {
    if (!skips_scalar()) return false;
    ++skip_depth_;
    return true;
  }
  bool deeper() {
    return ++depth_ <= kMaxJsonDepth || fail(cat("is nested deeper than ", kMaxJsonDepth));
  }
  bool push(Message* message, const FieldDescriptor* field, bool is_array) {
    stack_.push_back({message, field, is_array});
    return true;
  }
  bool push_map(Message* owner, const FieldDescriptor* field) {
    if (owner->GetReflection()->FieldSize(*owner, field) != 0) return fail("is given twice");
    stack_.push_back({.message = nullptr,
                      .field = field->message_type()->map_value(),
                      .is_map_object = true,
                      .map_owner = owner,
                      .map_field = field});
    return true;
  }
  bool map_key(Frame& frame, const std::string& name) {
    const FieldDescriptor* key = frame.map_field->message_type()->map_key();
    frame.message = frame.map_owner->GetReflection()->AddMessage(frame.map_owner, frame.map_field);
    frame.message->GetReflection()->SetString(frame.message, key, name);
    return true;
  }

  bool fail(std::string_view what) {
    if (!error_.empty()) return false;
    error_ = path();
    if (!error_.empty()) error_ += ": ";
    error_ += what;
    return false;
  }
  bool wrong_type(const FieldDescriptor* field) {
    return fail(cat("expected ", expectation(field)));
  }
  static std::string printable(std::string_view text) {
    std::string out = to_valid_utf8(text.substr(0, 64));
    for (char& c : out) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return out;
  }
  // "launch_container.command.uris[2].value"
  std::string path() const {
    std::string out;
    for (const Frame& frame : stack_) {
      if (frame.is_array) {
        out += cat("[", frame.index < 0 ? 0 : frame.index, "]");
      } else if (frame.is_map_object) {
        if (frame.message == nullptr) continue;
        const FieldDescriptor* key = frame.map_field->message_type()->map_key();
        out += cat("[\"", printable(frame.message->GetReflection()->GetString(*frame.message, key)),
                   "\"]");
      } else if (frame.field != nullptr) {
        if (!out.empty()) out += '.';
        out += frame.field->name();
      }
    }
    return out;
  }

  bool scalar(const Scalar& value) {
    if (skips_scalar()) return true;
    if (stack_.empty()) return fail("expected an object");
    Frame& frame = top();
    const FieldDescriptor* field = frame.field;
    if (frame.is_array) ++frame.index;
    if (field->is_map()) return fail("expected an object");
    if (field->is_repeated() && !frame.is_array) return fail("expected an array");
    if (!frame.is_array && !frame.is_map_object &&
        field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE &&
        frame.message->GetReflection()->HasField(*frame.message, field)) {
      return fail("is given twice");
    }
    return set(*frame.message, field, value);
  }

  template <class T, class Set, class Add>
  bool set_integer(const FieldDescriptor* f, const Scalar& in, Set set, Add add) {
    T value{};
    if (!to_integer(in, value)) {
      return fail(cat("expected ", expectation(f), " in its range"));
    }
    f->is_repeated() ? add(value) : set(value);
    return true;
  }

  bool set(Message& m, const FieldDescriptor* f, const Scalar& in) {
    const Reflection* r = m.GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return set_integer<int32_t>(
            f, in, [&](auto v) { r->SetInt32(&m, f, v); }, [&](auto v) { r->AddInt32(&m, f, v); });
      case FieldDescriptor::CPPTYPE_INT64:
        return set_integer<int64_t>(
            f, in, [&](auto v) { r->SetInt64(&m, f, v); }, [&](auto v) { r->AddInt64(&m, f, v); });
      case FieldDescriptor::CPPTYPE_UINT32:
        return set_integer<uint32_t>(
            f, in, [&](auto v) { r->SetUInt32(&m, f, v); },
            [&](auto v) { r->AddUInt32(&m, f, v); });
      case FieldDescriptor::CPPTYPE_UINT64:
        return set_integer<uint64_t>(
            f, in, [&](auto v) { r->SetUInt64(&m, f, v); },
            [&](auto v) { r->AddUInt64(&m, f, v); });
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT: {
        double value = 0;
        if (!to_double(in, value)) return wrong_type(f);
        if (f->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
          const float narrow = static_cast<float>(value);
          f->is_repeated() ? r->AddFloat(&m, f, narrow) : r->SetFloat(&m, f, narrow);
        } else {
          f->is_repeated() ? r->AddDouble(&m, f, value) : r->SetDouble(&m, f, value);
        }
        return true;
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (in.kind != Scalar::Kind::boolean) return wrong_type(f);
        f->is_repeated() ? r->AddBool(&m, f, in.boolean) : r->SetBool(&m, f, in.boolean);
        return true;
      case FieldDescriptor::CPPTYPE_ENUM:
        return set_enum(m, f, in);
      case FieldDescriptor::CPPTYPE_STRING:
        return set_string(m, f, in);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        break;
    }
    return wrong_type(f);
  }

  // As Mesos: an unknown name in an optional or repeated field is as if it were absent.
  bool set_enum(Message& m, const FieldDescriptor* f, const Scalar& in) {
    if (in.kind != Scalar::Kind::string) return wrong_type(f);
    const auto* value = f->enum_type()->FindValueByName(std::string(in.string));
    if (value == nullptr) {
      if (!f->is_required() && !is_strict(m.GetDescriptor())) return true;
      return fail(cat("'", printable(in.string), "' is not a value of it"));
    }
    const Reflection* r = m.GetReflection();
    f->is_repeated() ? r->AddEnum(&m, f, value) : r->SetEnum(&m, f, value);
    return true;
  }

  bool set_string(Message& m, const FieldDescriptor* f, const Scalar& in) {
    if (in.kind != Scalar::Kind::string) return wrong_type(f);
    std::string value(in.string);
    if (f->type() == FieldDescriptor::TYPE_BYTES) {
      auto bytes = from_base64(in.string);
      if (!bytes) return fail(bytes.error().to_string());
      value = std::move(bytes).value();
    }
    const Reflection* r = m.GetReflection();
    f->is_repeated() ? r->AddString(&m, f, std::move(value))
                     : r->SetString(&m, f, std::move(value));
    return true;
  }

  Message* root_;
  std::vector<Frame> stack_;
  std::string error_;
  int depth_ = 0;
  int skip_depth_ = 0;       // open objects and arrays inside a skipped value
  bool skip_value_ = false;  // the next value belongs to an unknown field
};

Result<void> check_required(const Message& message) {
  if (message.IsInitialized()) return {};
  std::vector<std::string> missing;
  message.FindInitializationErrors(&missing);
  std::string list;
  for (const auto& name : missing) list += (list.empty() ? "" : ", ") + name;
  return Error(Errc::invalid, cat(list, ": required but missing"));
}

// "line 3, column 7" of an offset.
std::string position(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return cat("line ", 1 + std::count(before.begin(), before.end(), '\n'), ", column ",
             offset - line_start + 1);
}

// The first unknown field inside one of Gantry's messages, as a path; empty when there is none.
std::string unknown_in_strict(const Message& message) {
  const Reflection* reflection = message.GetReflection();
  const auto& unknown = reflection->GetUnknownFields(message);
  if (!unknown.empty() && is_strict(message.GetDescriptor())) {
    return cat("field number ", unknown.field(0).number());
  }
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      const std::string inner =
          unknown_in_strict(field->is_repeated() ? reflection->GetRepeatedMessage(message, field, i)
                                                 : reflection->GetMessage(message, field));
      if (!inner.empty()) return cat(field->name(), ".", inner);
    }
  }
  return {};
}
}  // namespace

Result<void> from_json(std::string_view json, Message& out) {
  rapidjson::MemoryStream stream(json.data(), json.size());
  rapidjson::Reader reader;
  Builder builder(out);
  // Iterative: the parser itself never recurses, whatever the nesting.
  const auto result = reader.Parse < rapidjson::kParseIterativeFlag |
                      rapidjson::kParseFullPrecisionFlag |
                      rapidjson::kParseValidateEncodingFlag > (stream, builder);
  if (!builder.error().empty()) return Error(Errc::invalid, builder.error());
  if (result.IsError()) {
    return Error(Errc::corrupt, cat(rapidjson::GetParseError_En(result.Code()), " at ",
                                    position(json, std::min(result.Offset(), json.size()))));
  }
  // RapidJSON takes a NUL for the end.
  if (stream.Tell() != json.size()) {
    return Error(Errc::corrupt,
                 cat("something follows the object at ", position(json, stream.Tell())));
  }
  return check_required(out);
}

Result<void> from_binary(std::string_view bytes, Message& out) {
  if (bytes.size() > std::numeric_limits<int>::max() ||
      !out.ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Error(Errc::corrupt, "not a protobuf message of this type");
  }
  GANTRY_TRY(check_required(out));
  const std::string unknown = unknown_in_strict(out);
  if (!unknown.empty()) {
    return Error(Errc::invalid, cat(unknown, ": unknown in this version of gantry"));
  }
  return {};
}
}  // namespace gantry::wire
