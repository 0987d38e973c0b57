// Fields: what executor and gantry-worker say to each other, an ordered list of (name, value).
// Values are bytes; a name may repeat. The receiving side of the executor trusts nothing: size and
// count are bounded before anything is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/str.h"

namespace gantry {
inline constexpr size_t kMaxWorkerMessage = 16u << 20;

class Fields {
 public:
  void add(std::string_view name, std::string_view value) { items_.emplace_back(name, value); }
  void add_number(std::string_view name, std::integral auto value) { add(name, cat(value)); }
  bool has(std::string_view name) const;
  // The first value of that name; empty when there is none.
  std::string_view get(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  template <std::integral T>
  Result<T> number(std::string_view name) const {
    T value{};
    if (!parse_number(get(name), value)) return bad_number(name);
    return value;
  }
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

  std::string encode() const;
  static Result<Fields> decode(std::string_view bytes);

 private:
  Error bad_number(std::string_view name) const;
  std::vector<std::pair<std::string, std::string>> items_;
};

// How a failed job's Error travels: its kind survives, so that callers can branch on it.
void add_error(Fields& to, const Error& error);
Result<void> check_error(const Fields& from);
}  // namespace gantry
