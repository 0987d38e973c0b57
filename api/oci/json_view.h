// A read-only look at an untrusted JSON document that carries the path of the value for errors.
#pragma once

#include <rapidjson/document.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gantry::oci {
// A missing member and null are the same: an absent view.
class JsonView {
 public:
  JsonView(const rapidjson::Value* value, std::string path)
      : value_(value != nullptr && value->IsNull() ? nullptr : value), path_(std::move(path)) {}
  bool absent() const { return value_ == nullptr; }
  const std::string& path() const { return path_; }

  // Errc::invalid when the object has a member twice: readers disagree about which one counts.
  Result<JsonView> member(const char* name) const;
  Result<std::string> text() const;  // absent: ""; refuses control characters but tab and newline
  Result<uint64_t> number() const;   // absent: 0
  Result<std::vector<std::string>> texts() const;  // absent: empty
  Result<std::vector<JsonView>> elements(size_t limit) const;
  Result<std::map<std::string, std::string>> text_map() const;
  Result<std::vector<std::string>> keys() const;
  Error wrong(std::string_view what) const;

 private:
  const rapidjson::Value* value_;
  std::string path_;
};

// Parses iteratively; `what` names the document in errors. At most `max_bytes` and 64 levels deep.
Result<void> parse_json(rapidjson::Document& into, std::string_view json, std::string_view what,
                        size_t max_bytes);
}  // namespace gantry::oci
