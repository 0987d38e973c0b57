// ContainerId: Mesos' rule (1 to 242 characters, no '.', '/', '\', control characters), with an
// optional parent for nested containers. Constructed only by parse(): an id that exists is valid.
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry {
class ContainerId {
 public:
  static Result<ContainerId> parse(std::string_view value);
  static Result<ContainerId> parse(std::string_view value, const ContainerId& parent);
  // What to_string() says: "parent.child".
  static Result<ContainerId> parse_path(std::string_view text);
  // 32 hex digits of ours.
  static ContainerId generate();

  const std::string& value() const { return value_; }
  const ContainerId* parent() const { return parent_.get(); }
  // "parent.child" for messages and logs; '.' is legal in no part.
  std::string to_string() const;
  // Name of directories and cgroups: the value when it is <= 64 of [A-Za-z0-9_-], else '%' and 24
  // hex digits of its SHA-256 (architecture §4). Unique among top-level containers.
  std::string directory_name() const;
  // Always 24 hex digits of SHA-256 over to_string(): sockets, links, the launcher's keys.
  std::string hash() const;

  bool operator==(const ContainerId& other) const { return to_string() == other.to_string(); }
  auto operator<=>(const ContainerId& other) const { return to_string() <=> other.to_string(); }

 private:
  explicit ContainerId(std::string value) : value_(std::move(value)) {}
  std::string value_;
  std::shared_ptr<const ContainerId> parent_;
};

// First `digits` hex digits of the SHA-256 of text.
std::string sha256_hex(std::string_view text, size_t digits = 64);
}  // namespace gantry

template <>
struct std::hash<gantry::ContainerId> {
  size_t operator()(const gantry::ContainerId& id) const {
    return std::hash<std::string>()(id.to_string());
  }
};
