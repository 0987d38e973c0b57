#include "executor/gradual_answer.h"

#include "base/str.h"

namespace gantry {
namespace {
constexpr std::string_view kJsonEnd = "]}}";
}  // namespace

GradualAnswer::GradualAnswer(Encoding encoding, Message::Type type, std::string_view field)
    : encoding_(encoding), piece_head_(cat("{\"", field, "\":{\"containers\":[")) {
  head_.set_type(type);
  const auto* list = Message::descriptor()->FindFieldByName(std::string(field));
  GANTRY_CHECK(list != nullptr);
  head_.GetReflection()->MutableMessage(&head_, list);
}

void GradualAnswer::add(const Message& piece) {
  const std::string encoded = encode(encoding_, piece);
  if (encoding_ == Encoding::protobuf) {
    // PROTOCOL: messages one after the other are one, merged.
    body_ += encoded;
  } else {
    GANTRY_CHECK(encoded.starts_with(piece_head_) && encoded.ends_with(kJsonEnd));
    const size_t entries = encoded.size() - piece_head_.size() - kJsonEnd.size();
    body_ += is_empty_ ? "" : ",";
    body_.append(encoded, piece_head_.size(), entries);
  }
  is_empty_ = false;
}

http::Response GradualAnswer::finish() {
  std::string out = encode(encoding_, head_);
  if (encoding_ == Encoding::protobuf) {
    out += body_;
  } else if (!is_empty_) {
    // {"type":"X","field":{}} with the list where the field is empty.
    GANTRY_CHECK(out.ends_with("{}}"));
    out.resize(out.size() - 2);
    out += cat("\"containers\":[", body_, kJsonEnd);
  }
  return {200, std::string(content_type(encoding_)), std::move(out), {}};
}
}  // namespace gantry
