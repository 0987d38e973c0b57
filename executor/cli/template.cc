#include "executor/cli/template.h"

#include <algorithm>

#include "executor/cli/command.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kJson = "json ";

std::string_view trim_spaces(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::string_view without_dot(std::string_view name) {
  if (name.starts_with('.')) name.remove_prefix(1);
  return name;
}
}  // namespace

Result<std::string> fill_in(std::string_view format, const ValueOf& value_of) {
  std::string out;
  for (std::string_view rest = format; !rest.empty();) {
    if (rest.starts_with("{{")) {
      const size_t end = rest.find("}}");
      if (end == rest.npos) {
        return usage_error(cat("--format ", format, ": {{ without }}"));
      }
      out += GANTRY_TRY(value_of(trim_spaces(rest.substr(2, end - 2))));
      rest.remove_prefix(end + 2);
    } else if (rest.starts_with("\\t") || rest.starts_with("\\n")) {
      out += rest[1] == 't' ? '\t' : '\n';
      rest.remove_prefix(2);
    } else {
      out += rest[0];
      rest.remove_prefix(1);
    }
  }
  return out;
}

Result<std::string> fill_in(std::string_view format, const Cells& cells) {
  return fill_in(
      format, ValueOf([&](std::string_view name) -> Result<std::string> {
        const bool is_json = name.starts_with(kJson);
        if (is_json) name = trim_spaces(name.substr(kJson.size()));
        std::string legal;
        for (const auto& [cell, value] : cells) {
          legal += cat(legal.empty() ? "" : " ", "{{.", cell, "}}");
          if (cell != without_dot(name)) continue;
          return is_json ? to_text(Json(rapidjson::StringRef(value.data(), value.size()))) : value;
        }
        return usage_error(cat("--format: there is no {{", name, "}}; there are ", legal));
      }));
}

Result<std::string> fill_in(std::string_view format, const Json& object) {
  return fill_in(format, ValueOf([&](std::string_view name) -> Result<std::string> {
                   const bool is_json = name.starts_with(kJson);
                   if (is_json) name = trim_spaces(name.substr(kJson.size()));
                   const Json* value = find(object, without_dot(name));
                   if (value == nullptr) return std::string(is_json ? "null" : "<no value>");
                   if (value->IsString() && !is_json) {
                     return std::string(value->GetString(), value->GetStringLength());
                   }
                   return to_text(*value);
                 }));
}

Result<void> Listing::add(const Cells& cells) {
  if (!format_.empty()) {
    write_out(GANTRY_TRY(fill_in(format_, cells)) + "\n");
    return {};
  }
  std::vector<std::string> texts;
  for (const auto& [name, text] : cells) texts.push_back(text);
  table_.add(std::move(texts));
  return {};
}

void Listing::write() const {
  if (format_.empty()) table_.write();
}

namespace {
Result<void> check_no_table(std::string_view format) {
  if (!format.starts_with("table")) return {};
  return usage_error("--format makes lines, no table: leave it out for the table");
}

// "range" of {{range .container.ports}}; empty: no word of Go's templates.
std::string_view template_word(std::string_view name) {
  constexpr std::string_view kWords[] = {"range", "if",    "else", "end",     "with",
                                         "index", "len",   "eq",   "ne",      "join",
                                         "slice", "split", "and",  "println", "printf"};
  const auto* const word = std::ranges::find(kWords, name.substr(0, name.find(' ')));
  return word == std::end(kWords) ? std::string_view() : *word;
}

Result<std::string> check_member(std::string_view name, std::span<const ForeignName> foreign) {
  const std::string written = cat("--format: {{", name, "}}");
  if (const std::string_view word = template_word(name); !word.empty()) {
    return usage_error(cat("--format: there is no ", word,
                           " here, only members: {{.container.state}}; {{json .container.ports}} "
                           "is a list for jq"));
  }
  if (name.starts_with(kJson)) name = trim_spaces(name.substr(kJson.size()));
  if (!name.starts_with('.')) {
    return usage_error(cat(
        written, ": a name begins with a dot, e.g. {{.container.state}} or {{json .container}}"));
  }
  name.remove_prefix(1);
  for (const auto& [theirs, ours] : foreign) {
    const bool is_part = theirs.ends_with('.') && name.starts_with(theirs);
    if (name == theirs || is_part) return usage_error(cat(written, ": here it is {{.", ours, "}}"));
  }
  // Ours are lower-case, but for those in an image's own words.
  if (name.empty() || name[0] < 'A' || name[0] > 'Z') return std::string();
  return usage_error(cat(written, ": there is none; without --format all that there are is shown"));
}
}  // namespace

Result<void> check_format(std::string_view format, const Cells& cells) {
  GANTRY_TRY(check_no_table(format));
  GANTRY_TRY(fill_in(format, cells));
  return {};
}

Result<void> check_format(std::string_view format, std::span<const ForeignName> foreign) {
  GANTRY_TRY(check_no_table(format));
  GANTRY_TRY(fill_in(
      format, ValueOf([foreign](std::string_view name) { return check_member(name, foreign); })));
  return {};
}
}  // namespace gantry::cli
