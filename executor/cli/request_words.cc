#include "executor/cli/request_words.h"

#include <unistd.h>

#include <cstdlib>
#include <iterator>

#include "api/types/capability_names.h"
#include "base/sys.h"

namespace gantry::cli {
std::vector<std::string_view> split_words(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (size_t from = 0;;) {
    const size_t at = text.find(separator, from);
    out.push_back(text.substr(from, at - from));
    if (at == text.npos) return out;
    from = at + 1;
  }
}

std::optional<Pair> cut(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == text.npos) return std::nullopt;
  return Pair{text.substr(0, at), text.substr(at + 1)};
}

std::string absolute_path(std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  char here[4096];
  if (::getcwd(here, sizeof here) == nullptr) return std::string(path);
  while (path.starts_with("./")) path.remove_prefix(2);
  return path == "." || path.empty() ? std::string(here) : cat(here, "/", path);
}

std::vector<std::string> obtainable_capabilities() {
  constexpr std::string_view kBounding = "\nCapBnd:\t";
  const std::string status = sys::read_file("/proc/self/status").value_or(std::string());
  const size_t at = status.find(kBounding);
  if (at == status.npos) return {"ALL"};
  const uint64_t mask = ::strtoull(status.c_str() + at + kBounding.size(), nullptr, 16);
  std::vector<std::string> out;
  for (size_t i = 0; i < std::size(kCapabilityNames); ++i) {
    if ((mask >> i & 1) != 0) out.emplace_back(kCapabilityNames[i]);
  }
  return out;
}

void write_strings(JsonWriter& json, std::string_view key, const std::vector<std::string>& items) {
  if (items.empty()) return;
  json.open_list(key);
  for (const std::string& item : items) json.item(item);
  json.close_list();
}

Result<void> write_map(JsonWriter& json, std::string_view key, std::string_view flag,
                       const std::vector<std::string>& pairs) {
  if (pairs.empty()) return {};
  json.open(key);
  for (const std::string& pair : pairs) {
    const auto parts = cut(pair, '=');
    if (parts && parts->key.empty()) {
      return usage_error(cat(flag, " \"", pair, "\" has no name before the ="));
    }
    json.text(parts ? parts->key : std::string_view(pair), parts ? parts->value : "");
  }
  json.close();
  return {};
}

Result<void> write_env(JsonWriter& json, const std::vector<std::string>& env) {
  std::vector<std::string> out;
  for (const std::string& word : env) {
    if (word.empty() || word[0] == '=') {
      return usage_error(cat("-e \"", word, "\" has no name: NAME=VALUE, or NAME to pass it on"));
    }
    const char* here = word.find('=') == word.npos ? ::getenv(word.c_str()) : nullptr;
    if (here != nullptr) {
      out.push_back(cat(word, "=", here));
    } else if (word.find('=') != word.npos) {
      out.push_back(word);
    }
  }
  write_strings(json, "env", out);
  return {};
}
}  // namespace gantry::cli
