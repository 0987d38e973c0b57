#include "executor/cli/hide_secrets.h"

#include <algorithm>
#include <cctype>

#include "base/result.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kHidden = "[hidden]";
constexpr std::string_view kBetweenWords = " \t\r\n\"'`,;(){}[]<>|&";

bool is_one_of(char c, std::string_view set) { return set.find(c) != set.npos; }
bool is_alnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

bool is_secret_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (is_alnum(c)) plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  constexpr std::string_view kWords[] = {"password", "passwd",     "passphrase", "secret",
                                         "token",    "apikey",     "accesskey",  "privatekey",
                                         "pwd",      "credential", "cookie"};
  constexpr std::string_view kWhole[] = {"pass", "auth", "authorization", "key", "userpass", "pw"};
  return std::ranges::any_of(kWords, [&](auto word) { return plain.find(word) != plain.npos; }) ||
         std::ranges::find(kWhole, plain) != std::end(kWhole) || plain.ends_with("key") ||
         plain.ends_with("pass");
}

bool is_variable_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return c == '_' || (is_alnum(c) && std::islower(static_cast<unsigned char>(c)) == 0);
  });
}

bool looks_secret(std::string_view word, TextIs kind) {
  constexpr std::string_view kPrefixes[] = {"eyJ",    "ghp_",  "gho_",  "ghs_", "github_pat_",
                                            "glpat-", "xoxb-", "xoxp-", "AKIA", "ASIA",
                                            "AIza",   "sk-",   "hf_",   "npm_", "dckr_pat_"};
  constexpr size_t kLeast = 12, kLong = 20;
  const auto starts = [&](std::string_view prefix) { return word.starts_with(prefix); };
  if (word.size() >= kLeast && std::ranges::any_of(kPrefixes, starts)) return true;
  if (kind == TextIs::log || word.size() < kLong || word.find('/') == 0) return false;
  bool has_digit = false, has_letter = false;
  for (const char c : word) {
    if (!is_alnum(c) && !is_one_of(c, "+/=_-")) return false;
    has_digit = has_digit || std::isdigit(static_cast<unsigned char>(c)) != 0;
    has_letter = has_letter || std::isalpha(static_cast<unsigned char>(c)) != 0;
  }
  return has_digit && has_letter;
}

// "https://user:pass@host" without what is before the '@'.
std::string hide_login(std::string_view word) {
  const size_t scheme = word.find("://");
  if (scheme == word.npos) return std::string(word);
  const size_t start = scheme + 3, at = word.find('@', start);
  if (at == word.npos || word.find('/', start) < at) return std::string(word);
  return cat(word.substr(0, start), kHidden, word.substr(at));
}

class Hider {
 public:
  Hider(std::string_view text, TextIs kind) : text_(text), kind_(kind) {}
  std::string run() {
    while (at_ < text_.size()) {
      if (hide_pem()) continue;
      if (is_one_of(text_[at_], kBetweenWords)) {
        // What a name announced on one line is not on the next one.
        if (text_[at_] == '\n') is_next_secret_ = false;
        out_ += text_[at_++];
        continue;
      }
      const size_t end = std::min(text_.find_first_of(kBetweenWords, at_), text_.size());
      const std::string_view word = text_.substr(at_, end - at_);
      at_ = end;
      take(word);
    }
    return std::move(out_);
  }

 private:
  bool hide_pem() {
    constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ";
    if (!text_.substr(at_).starts_with(kBegin)) return false;
    out_ += kHidden;
    const size_t end = text_.find(kEnd, at_);
    at_ = end == text_.npos ? text_.size() : std::min(text_.find('\n', end), text_.size());
    return true;
  }

  // Whether ':' or '=' follows, as after a name in JSON.
  bool is_name_of_next() const {
    size_t at = at_;
    while (at < text_.size() && is_one_of(text_[at], "\"' ")) ++at;
    return at < text_.size() && is_one_of(text_[at], ":=");
  }

  void take(std::string_view word) {
    const bool is_scheme = word == "Bearer" || word == "Basic";
    if (word == ":" || word == "=" || (is_next_secret_ && is_scheme)) {
      out_ += word;
      return;
    }
    if (std::exchange(is_next_secret_, false)) {
      out_ += kHidden;
      return;
    }
    const size_t equals = word.find_first_of(word.find("://") == word.npos ? "=:" : "=");
    const std::string_view name = word.substr(0, equals);
    if (equals != word.npos && equals + 1 < word.size()) {
      const bool is_variable =
          kind_ == TextIs::arguments && word[equals] == '=' && is_variable_name(name);
      if (is_secret_name(name) || is_variable) {
        out_ += cat(name, word.substr(equals, 1), kHidden);
        return;
      }
    }
    const bool announces = word.starts_with('-') || equals != word.npos || is_name_of_next();
    is_next_secret_ = is_scheme || (announces && is_secret_name(name));
    out_ += looks_secret(word, kind_) ? std::string(kHidden) : hide_login(word);
  }

  const std::string_view text_;
  const TextIs kind_;
  size_t at_ = 0;
  bool is_next_secret_ = false;
  std::string out_;
};
}  // namespace

std::string hide_secrets(std::string_view text, TextIs kind) { return Hider(text, kind).run(); }
}  // namespace gantry::cli
