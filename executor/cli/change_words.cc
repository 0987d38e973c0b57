#include "executor/cli/change_words.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "executor/cli/command.h"

namespace gantry::cli {
namespace {
std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

Error wrong(std::string_view instruction, std::string_view legal) {
  return usage_error(cat("--change \"", instruction, "\": ", legal));
}

// At spaces; quotes of both kinds hold words together, a backslash keeps what follows.
Result<std::vector<std::string>> split(std::string_view text, std::string_view instruction) {
  std::vector<std::string> out;
  std::string word;
  bool is_in_word = false;
  char quote = '\0';
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      is_in_word = true;
    } else if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      is_in_word = true;
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      if (is_in_word) out.push_back(std::exchange(word, {}));
      is_in_word = false;
    } else {
      word += c;
      is_in_word = true;
    }
  }
  if (quote != '\0') return wrong(instruction, "a quote is not closed");
  if (is_in_word) out.push_back(std::move(word));
  return out;
}

// ["a","b"] as it is, anything else for a shell.
Result<std::vector<std::string>> command_of(std::string_view text, std::string_view instruction) {
  if (!text.starts_with('[')) return std::vector<std::string>{"/bin/sh", "-c", std::string(text)};
  const Result<JsonDocument> list = parse_json(text, "a list");
  if (!list || !list->IsArray()) return wrong(instruction, "a JSON list of words: [\"a\", \"b\"]");
  std::vector<std::string> out;
  for (const Json& word : list->GetArray()) {
    if (!word.IsString()) return wrong(instruction, "a JSON list of words: [\"a\", \"b\"]");
    out.emplace_back(word.GetString(), word.GetStringLength());
  }
  return out;
}

void write_list(JsonWriter& json, std::string_view key, const std::vector<std::string>& words) {
  json.open_list(key);
  for (const std::string& word : words) json.item(word);
  json.close_list();
}

void write_words(JsonWriter& json, std::string_view key,
                 const std::optional<std::vector<std::string>>& words) {
  if (!words) return;
  json.open(key);
  write_list(json, "words", *words);
  json.close();
}
}  // namespace

Result<void> ImageChanges::add(std::string_view instruction) {
  const std::string_view whole = trimmed(instruction);
  const size_t space = std::min(whole.find_first_of(" \t"), whole.size());
  std::string name(whole.substr(0, space));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
  const std::string_view rest = trimmed(whole.substr(space));
  if (name != "CMD" && name != "ENTRYPOINT" && rest.empty()) {
    return wrong(instruction,
                 "needs a value: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR or "
                 "STOPSIGNAL and what it is to be");
  }
  if (name == "CMD" || name == "ENTRYPOINT") {
    auto& target = name == "CMD" ? cmd_ : entrypoint_;
    target = rest.empty() ? Words() : GANTRY_TRY(command_of(rest, instruction));
  } else if (name == "ENV" || name == "LABEL") {
    auto& target = name == "ENV" ? env_ : labels_;
    const Words words = GANTRY_TRY(split(rest, instruction));
    // Docker's old form: ENV NAME VALUE.
    if (words.size() > 1 && words[0].find('=') == std::string::npos) {
      target[words[0]] = trimmed(rest.substr(rest.find_first_of(" \t")));
      return {};
    }
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      if (equals == word.npos || equals == 0) return wrong(instruction, "NAME=VALUE, any number");
      target[word.substr(0, equals)] = word.substr(equals + 1);
    }
  } else if (name == "EXPOSE") {
    for (std::string& port : GANTRY_TRY(split(rest, instruction))) {
      if (port.find('/') == port.npos) port += "/tcp";
      ports_.push_back(std::move(port));
    }
  } else if (name == "VOLUME") {
    Words words = rest.starts_with('[') ? GANTRY_TRY(command_of(rest, instruction))
                                        : GANTRY_TRY(split(rest, instruction));
    volumes_.insert(volumes_.end(), words.begin(), words.end());
  } else if (name == "USER") {
    user_ = rest;
  } else if (name == "WORKDIR") {
    cwd_ = rest;
  } else if (name == "STOPSIGNAL") {
    stop_signal_ = rest;
  } else {
    return wrong(instruction,
                 "is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR and "
                 "STOPSIGNAL");
  }
  return {};
}

void ImageChanges::write(JsonWriter& json) const {
  json.open("changes");
  write_words(json, "entrypoint", entrypoint_);
  write_words(json, "cmd", cmd_);
  Words variables;
  for (const auto& [name, value] : env_) variables.push_back(cat(name, "=", value));
  write_list(json, "env", variables);
  write_list(json, "exposed_ports", ports_);
  write_list(json, "volumes", volumes_);
  json.open("labels");
  for (const auto& [name, value] : labels_) json.text(name, value);
  json.close();
  if (user_) json.text("user", *user_);
  if (cwd_) json.text("cwd", *cwd_);
  if (stop_signal_) json.text("stop_signal", *stop_signal_);
  json.close();
}
}  // namespace gantry::cli
