#include "api/oci/json_view.h"

#include <rapidjson/error/en.h>

#include <algorithm>
#include <set>

namespace gantry::oci {
namespace {
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxMembers = 10'000;

size_t depth_of(std::string_view json) {
  size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}
}  // namespace

Error JsonView::wrong(std::string_view what) const {
  return Error(Errc::invalid, cat(path_, path_.ends_with(' ') ? "" : " ", what));
}

Result<JsonView> JsonView::member(const char* name) const {
  std::string path = cat(path_, path_.ends_with(": ") ? "" : ".", name);
  if (absent()) return JsonView(nullptr, std::move(path));
  if (!value_->IsObject()) return wrong("is not an object");
  const rapidjson::Value* found = nullptr;
  for (const auto& m : value_->GetObject()) {
    if (std::string_view(m.name.GetString(), m.name.GetStringLength()) != name) continue;
    if (found != nullptr) return JsonView(nullptr, std::move(path)).wrong("appears twice");
    found = &m.value;
  }
  return JsonView(found, std::move(path));
}

Result<std::string> JsonView::text() const {
  if (absent()) return std::string();
  if (!value_->IsString()) return wrong("is not a string");
  std::string out(value_->GetString(), value_->GetStringLength());
  for (char c : out) {
    if (c == '\0') return wrong("contains a NUL character");
  }
  return out;
}

Result<uint64_t> JsonView::number() const {
  if (absent()) return uint64_t{0};
  if (!value_->IsUint64()) return wrong("is not a number from 0 to 2^64-1");
  return value_->GetUint64();
}

Result<std::vector<JsonView>> JsonView::elements(size_t limit) const {
  std::vector<JsonView> out;
  if (absent()) return out;
  if (!value_->IsArray()) return wrong("is not an array");
  if (value_->Size() > limit) return wrong(cat("has more than ", limit, " elements"));
  for (rapidjson::SizeType i = 0; i < value_->Size(); ++i) {
    out.emplace_back(&(*value_)[i], cat(path_, "[", i, "]"));
  }
  return out;
}

Result<std::vector<std::string>> JsonView::texts() const {
  // Before OCI, Docker allowed a lone string for Entrypoint and Cmd.
  if (!absent() && value_->IsString()) return std::vector{GANTRY_TRY(text())};
  std::vector<std::string> out;
  for (const JsonView& element : GANTRY_TRY(elements(kMaxMembers))) {
    if (element.absent()) return element.wrong("is not a string");
    out.push_back(GANTRY_TRY(element.text()));
  }
  return out;
}

Result<std::vector<std::string>> JsonView::keys() const {
  std::vector<std::string> out;
  if (absent()) return out;
  if (!value_->IsObject()) return wrong("is not an object");
  if (value_->MemberCount() > kMaxMembers) return wrong("has too many members");
  std::set<std::string_view> seen;
  for (const auto& m : value_->GetObject()) {
    std::string_view key(m.name.GetString(), m.name.GetStringLength());
    if (key.find('\0') != std::string_view::npos) return wrong("has a name with a NUL character");
    if (!seen.insert(key).second) return wrong(cat("has '", key.substr(0, 60), "' twice"));
    out.emplace_back(key);
  }
  return out;
}

Result<std::map<std::string, std::string>> JsonView::text_map() const {
  std::map<std::string, std::string> out;
  for (const std::string& key : GANTRY_TRY(keys())) {
    JsonView value(&(*value_)[key.c_str()], cat(path_, ".", key.substr(0, 60)));
    out[key] = GANTRY_TRY(value.text());
  }
  return out;
}

Result<void> parse_json(rapidjson::Document& into, std::string_view json, std::string_view what,
                        size_t max_bytes) {
  if (json.size() > max_bytes) {
    return Error(Errc::exhausted, cat(what, ": larger than ", max_bytes, " bytes"));
  }
  if (depth_of(json) > kMaxDepth) {
    return Error(Errc::invalid, cat(what, ": nested deeper than ", kMaxDepth, " levels"));
  }
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag;
  into.Parse<kFlags>(json.data(), json.size());
  if (into.HasParseError()) {
    return Error(Errc::corrupt, cat(what, ": ", rapidjson::GetParseError_En(into.GetParseError()),
                                    " (at byte ", into.GetErrorOffset(), ")"));
  }
  return {};
}
}  // namespace gantry::oci
