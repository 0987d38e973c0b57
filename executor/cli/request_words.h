// Words of the command line as members of a request.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "executor/cli/command.h"
#include "executor/cli/json.h"

namespace gantry::cli {
std::vector<std::string_view> split_words(std::string_view text, char separator);

struct Pair {
  std::string_view key, value;
};
// At the first separator; nothing where there is none.
std::optional<Pair> cut(std::string_view text, char separator);

std::string absolute_path(std::string_view path);

template <std::integral T>
Result<T> whole_number(std::string_view flag, std::string_view text) {
  T value{};
  if (parse_number(text, value)) return value;
  return usage_error(cat(flag, " is a whole number, not \"", text, "\""));
}

// Every capability, but for those that nobody here can have (our bounding set lacks them).
std::vector<std::string> obtainable_capabilities();

// Values of flags that may be repeated, as members of a request; none: no member.
void write_strings(JsonWriter& json, std::string_view key, const std::vector<std::string>& items);
// KEY=VALUE, or KEY for an empty value.
Result<void> write_map(JsonWriter& json, std::string_view key, std::string_view flag,
                       const std::vector<std::string>& pairs);
// NAME=VALUE, or NAME alone for the value it has here; unset here is left out, as docker does.
Result<void> write_env(JsonWriter& json, const std::vector<std::string>& env);
}  // namespace gantry::cli
