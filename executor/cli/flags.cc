#include "executor/cli/flags.h"

#include <algorithm>
#include <utility>

namespace gantry::cli {
struct Flags::Cursor {
  const std::vector<std::string>& argv;
  size_t at = 0;
  std::vector<std::pair<const Flag*, std::string>> given = {};  // of flags with one value
  std::string_view current() const { return argv[at]; }
  // The value of the flag before: the rest of its own word, or the next word.
  std::optional<std::string_view> next() {
    if (at + 1 >= argv.size()) return std::nullopt;
    return argv[++at];
  }
  // Which of two values is meant nobody knows.
  Result<void> note(const Flag& flag, std::string_view value) {
    const auto before =
        std::ranges::find(given, &flag, [](const auto& pair) { return pair.first; });
    if (before == given.end()) {
      given.emplace_back(&flag, value);
    } else if (before->second != value) {
      return Error(Errc::invalid, cat("--", flag.name, " is given twice, as \"", before->second,
                                      "\" and as \"", value, "\": give one of them"));
    }
    return {};
  }
};

namespace {
Result<bool> parse_bool(std::string_view name, std::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return Error(Errc::invalid, cat("--", name, " is true or false, not \"", text, "\""));
}

Result<void> store(const Flag& flag, std::string_view text) {
  if (auto* const* toggle = std::get_if<bool*>(&flag.target)) {
    **toggle = GANTRY_TRY(parse_bool(flag.name, text));
  } else if (auto* const* one = std::get_if<std::string*>(&flag.target)) {
    **one = text;
  } else if (auto* const* maybe = std::get_if<std::optional<std::string>*>(&flag.target)) {
    (*maybe)->emplace(text);
  } else {
    std::get<std::vector<std::string>*>(flag.target)->emplace_back(text);
  }
  return {};
}

// `--memory="$LIMIT"` with LIMIT unset must not mean "no limit".
bool is_empty(const Flag& flag, std::string_view value) {
  return value.empty() && std::holds_alternative<std::string*>(flag.target);
}

bool is_switch(const Flag& flag) { return std::holds_alternative<bool*>(flag.target); }
bool may_lack_value(const Flag& flag) { return flag.value.starts_with('['); }
bool repeats(const Flag& flag) {
  return std::holds_alternative<std::vector<std::string>*>(flag.target);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}
}  // namespace

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  std::string_view best;
  size_t best_distance = word.size() <= 3 ? 2 : 3;  // exclusive
  for (const std::string_view candidate : candidates) {
    // Half a word typed is a near miss too: "insp" for inspect.
    const bool prefix = word.size() >= 3 && candidate.starts_with(word);
    const size_t distance = prefix ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

const Flag* Flags::find(std::string_view name) const {
  const auto it = std::ranges::find(flags_, name, &Flag::name);
  return it == flags_.end() ? nullptr : &*it;
}

const Flag* Flags::find(char letter) const {
  const auto it = std::ranges::find(flags_, letter, &Flag::letter);
  return it == flags_.end() ? nullptr : &*it;
}

const ForeignFlag* Flags::find_foreign(std::string_view name) const {
  for (const std::span<const ForeignFlag> table : foreign_) {
    const auto it = std::ranges::find(table, name, &ForeignFlag::name);
    if (it != table.end()) return &*it;
  }
  return nullptr;
}

// `--name`, `--name=value`, `--name value`. False: not one of ours, and unknown ones pass.
Result<bool> Flags::parse_long(Cursor& cursor) const {
  std::string_view name = cursor.current().substr(2);
  std::optional<std::string_view> value;
  if (const size_t equals = name.find('='); equals != name.npos) {
    value = name.substr(equals + 1);
    name = name.substr(0, equals);
  }
  const Flag* flag = find(name);
  const ForeignFlag* foreign = flag == nullptr ? find_foreign(name) : nullptr;
  if (foreign != nullptr) flag = find(foreign->here);
  if (flag == nullptr) {
    if (pass_unknown_) return false;
    if (foreign != nullptr && is_always_so(*foreign, value, cursor)) return true;
    if (foreign != nullptr) {
      return Error(Errc::invalid, cat("there is no --", name, " here: ", foreign->hint));
    }
    std::vector<std::string_view> names;
    for (const Flag& known : flags_) names.push_back(known.name);
    const std::string_view meant = nearest(name, names);
    return Error(Errc::invalid, cat("unknown flag --", name,
                                    meant.empty() ? "" : cat(" (did you mean --", meant, "?)")));
  }
  if (is_switch(*flag)) {
    GANTRY_TRY(store(*flag, value.value_or("true")));
    return true;
  }
  if (!value && may_lack_value(*flag)) value = "";
  if (!value) value = cursor.next();
  if (!value || is_empty(*flag, *value)) {
    return Error(Errc::invalid, cat("--", name, " needs a value: ", flag->value));
  }
  if (!repeats(*flag)) GANTRY_TRY(cursor.note(*flag, *value));
  GANTRY_TRY(store(*flag, *value));
  return true;
}

bool Flags::is_always_so(const ForeignFlag& flag, std::optional<std::string_view> value,
                         Cursor& cursor) {
  if (flag.always.empty()) return false;
  if (!value) value = flag.always == "true" ? flag.always : cursor.next();
  return value == flag.always;
}

// `-d`, `-it`, `-e A=1`, `-eA=1`, `-e=A=1`.
Result<bool> Flags::parse_short(Cursor& cursor) const {
  const std::string_view word = cursor.current();
  for (size_t i = 1; i < word.size(); ++i) {
    const Flag* flag = find(word[i]);
    const ForeignFlag* foreign = flag == nullptr ? find_foreign(word.substr(i, 1)) : nullptr;
    if (foreign != nullptr) flag = find(foreign->here);
    if (flag == nullptr) {
      if (pass_unknown_ && i == 1) return false;
      if (foreign != nullptr && is_always_so(*foreign, std::nullopt, cursor)) continue;
      if (foreign != nullptr) {
        return Error(Errc::invalid, cat("there is no -", word[i], " here: ", foreign->hint));
      }
      return Error(Errc::invalid, cat("unknown flag -", word[i],
                                      word.size() > 2 ? cat(" in ", word) : std::string()));
    }
    if (is_switch(*flag)) {
      GANTRY_TRY(store(*flag, "true"));
      continue;
    }
    std::optional<std::string_view> value;
    if (i + 1 < word.size()) {
      value = word.substr(word[i + 1] == '=' ? i + 2 : i + 1);
    } else {
      value = cursor.next();
    }
    if (!value || is_empty(*flag, *value)) {
      return Error(Errc::invalid, cat("-", word[i], " needs a value: ", flag->value));
    }
    if (!repeats(*flag)) GANTRY_TRY(cursor.note(*flag, *value));
    GANTRY_TRY(store(*flag, *value));
    break;
  }
  return true;
}

Result<std::vector<std::string>> Flags::parse(const std::vector<std::string>& argv) const {
  std::vector<std::string> arguments;
  for (Cursor cursor{argv}; cursor.at < argv.size(); ++cursor.at) {
    const std::string_view word = cursor.current();
    if (word == "--") {
      arguments.insert(arguments.end(), argv.begin() + static_cast<long>(cursor.at) + 1,
                       argv.end());
      break;
    }
    bool is_flag = false;
    if (word.starts_with("--")) {
      is_flag = GANTRY_TRY(parse_long(cursor));
    } else if (word.size() > 1 && word[0] == '-') {
      is_flag = GANTRY_TRY(parse_short(cursor));
    }
    if (is_flag) continue;
    if (stop_at_first_argument_) {
      arguments.insert(arguments.end(), argv.begin() + static_cast<long>(cursor.at), argv.end());
      break;
    }
    arguments.emplace_back(word);
  }
  return arguments;
}
}  // namespace gantry::cli
