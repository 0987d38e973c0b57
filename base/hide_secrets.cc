#include "base/hide_secrets.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "base/result.h"

namespace gantry {
namespace {
constexpr std::string_view kHidden = "[hidden]";
constexpr std::string_view kBetweenWords = " \t\r\n\"'`,;(){}[]<>|&";

bool is_one_of(char c, std::string_view set) { return set.find(c) != set.npos; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }
bool is_upper(char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; }

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, word) != list.end();
}

// "keyStorePassword", "DB_PASSWORD_FILE", "--max-tokens": their words, in lower case.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> out;
  char former = ' ';
  for (const char c : name) {
    const bool begins = !is_alnum(former) || (is_upper(c) && !is_upper(former));
    if (is_alnum(c) && begins) out.emplace_back();
    if (is_alnum(c)) out.back() += lower(c);
    former = c;
  }
  return out;
}

// What is about a secret, and tells none: where it is, how long, how many.
bool is_about(const std::vector<std::string>& words) {
  const std::string &first = words.front(), &last = words.back();
  return is_one_of(last, {"file", "path", "dir", "directory", "ttl", "timeout", "lifetime",
                          "interval", "length", "size", "age", "count", "limit", "policy",
                          "enabled", "type", "version"}) ||
         (last.ends_with("tokens") && is_one_of(first, {"max", "min", "num", "n"})) ||
         (last == "key" && words.size() > 1 &&
          is_one_of(words[words.size() - 2],
                    {"public", "primary", "foreign", "sort", "partition", "routing", "host"}));
}

bool is_secret_name(std::string_view name) {
  const std::vector<std::string> words = words_of(name);
  // A path's colon is followed by another path, or by what is wrong with it.
  if (words.empty() || is_one_of(name[0], "/.~") || is_about(words)) return false;
  const std::string& last = words.back();
  std::string plain;
  for (const std::string& word : words) plain += word;
  constexpr std::string_view kWithin[] = {"password", "passwd",    "passphrase",
                                          "apikey",   "accesskey", "privatekey",
                                          "secret",   "signature", "credential"};
  if (is_one_of(name, {"PWD", "OLDPWD"})) return false;
  if (is_one_of(plain, {"auth", "authorization", "sig", "pin"})) return true;
  const auto is_within = [&](auto word) { return plain.find(word) != plain.npos; };
  if (std::ranges::any_of(kWithin, is_within)) return true;
  const auto is_token = [](const std::string& word) {
    return word.ends_with("token") || word.ends_with("tokens") || word.ends_with("cookie") ||
           word.ends_with("cookies") || word.ends_with("pwd") || word == "pw";
  };
  if (std::ranges::any_of(words, is_token)) return true;
  if (is_one_of(last, {"bypass", "compass", "monkey", "turkey", "donkey", "hotkey"})) return false;
  return last.ends_with("key") || last.ends_with("pass");
}

// A variable's value that no secret is: a switch, a small number, a path.
bool is_plain_value(std::string_view name, std::string_view value) {
  constexpr size_t kDigits = 5;
  if (is_one_of(name, {"PATH", "HOME", "PWD", "SHELL", "TERM", "TZ", "LANG", "HOSTNAME"}) ||
      name.starts_with("LC_")) {
    return true;
  }
  const bool is_number = value.find_first_not_of("0123456789") == value.npos;
  return is_one_of(value, {"true", "false", "yes", "no", "on", "off"}) || value.starts_with('/') ||
         (is_number && value.size() <= kDigits);
}

bool is_variable_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return c == '_' || (is_alnum(c) && std::islower(static_cast<unsigned char>(c)) == 0);
  });
}

// Letters and digits, mixed as nobody writes them: "service-frontend-v2-staging" is none.
bool is_random(std::string_view word) {
  constexpr size_t kLongPart = 16;
  constexpr int kChanges = 6;
  const auto kind_of = [](char c) { return is_digit(c) ? 0 : is_upper(c) ? 1 : 2; };
  int changes = 0;
  bool is_mixed = false;
  size_t begin = 0;
  for (size_t i = 1; i < word.size(); ++i) {
    if (is_one_of(word[i - 1], "-_/")) {
      begin = i;
      is_mixed = false;
    } else if (is_alnum(word[i]) && is_alnum(word[i - 1])) {
      is_mixed = is_mixed || is_digit(word[i]) != is_digit(word[i - 1]);
      if (kind_of(word[i]) != kind_of(word[i - 1])) ++changes;
    }
    if (is_mixed && i + 1 - begin >= kLongPart) return true;
  }
  const bool has_digit = std::ranges::any_of(word, is_digit);
  return has_digit && changes >= kChanges;
}

bool looks_secret(std::string_view word, TextIs kind) {
  constexpr std::string_view kPrefixes[] = {"eyJ",    "ghp_",  "gho_",  "ghs_", "github_pat_",
                                            "glpat-", "xoxb-", "xoxp-", "AKIA", "ASIA",
                                            "AIza",   "sk-",   "hf_",   "npm_", "dckr_pat_"};
  constexpr size_t kLeast = 12, kLong = 20;
  const auto starts = [&](std::string_view prefix) { return word.starts_with(prefix); };
  if (word.size() >= kLeast && std::ranges::any_of(kPrefixes, starts)) return true;
  if (kind == TextIs::log || word.size() < kLong || word[0] == '/') return false;
  const bool is_plain =
      std::ranges::all_of(word, [](char c) { return is_alnum(c) || is_one_of(c, "+/=_-"); });
  return is_plain && is_random(word);
}

bool is_same(std::string_view word, std::string_view lower) {
  return std::ranges::equal(
      word, lower, [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
}

// "--max-old-space-size", "shared_buffers": what stands before a value.
bool is_name(std::string_view name) {
  constexpr size_t kMost = 40;
  return !name.empty() && name.size() <= kMost && !is_random(name) &&
         std::ranges::all_of(name, [](char c) { return is_alnum(c) || is_one_of(c, "-_"); });
}

// Words of prose and SQL after which a secret comes: "my pass is WORD", IDENTIFIED BY 'WORD'.
bool announces_in_prose(std::string_view word, std::string_view former) {
  constexpr std::string_view kNames[] = {"pass", "passwd", "passphrase", "password"};
  return std::ranges::any_of(kNames, [&](auto name) { return is_same(word, name); }) ||
         (is_same(word, "by") && is_same(former, "identified"));
}

bool goes_between(std::string_view word) {
  constexpr std::string_view kBetween[] = {":", "=", "is", "was", "\\"};
  return std::ranges::any_of(kBetween, [&](auto between) { return is_same(word, between); });
}

// USER:WORD, unless it is of numbers, as ids are.
bool is_login(std::string_view word) {
  const size_t colon = word.find(':');
  return colon != word.npos && colon != 0 && word.find("://") == word.npos &&
         colon + 1 < word.size() && word.find_first_not_of("0123456789:") != word.npos;
}

// "https://user:pass@host" without what is before the '@'.
std::string hide_login(std::string_view word) {
  const size_t scheme = word.find("://");
  if (scheme == word.npos) return std::string(word);
  const size_t start = scheme + 3, end = std::min(word.find_first_of("/?#", start), word.size());
  const size_t at = word.substr(0, end).rfind('@');
  if (at == word.npos || at < start) return std::string(word);
  return cat(word.substr(0, start), kHidden, word.substr(at));
}

// Letters after which such a program takes a password, as `-pWORD` or `-p WORD`.
std::string_view password_letters(std::string_view program) {
  using Client = std::pair<std::string_view, std::string_view>;
  constexpr Client kClients[] = {
      {"mysql", "p"},         {"mysqldump", "p"},     {"mysqladmin", "p"},    {"mysqlimport", "p"},
      {"mariadb", "p"},       {"mariadb-dump", "p"},  {"mariadb-admin", "p"}, {"sshpass", "p"},
      {"mongo", "p"},         {"mongosh", "p"},       {"mongodump", "p"},     {"redis-cli", "a"},
      {"ldapsearch", "w"},    {"ldapadd", "w"},       {"ldapmodify", "w"},    {"docker", "p"},
      {"podman", "p"},        {"skopeo", "p"},        {"curl", "uU"},         {"smbclient", "U"},
      {"mosquitto_pub", "P"}, {"mosquitto_sub", "P"}, {"sqlcmd", "P"},        {"xfreerdp", "p"}};
  program = program.substr(program.rfind('/') + 1);
  const auto* const found = std::ranges::find(kClients, program, &Client::first);
  return found == std::end(kClients) ? std::string_view() : found->second;
}

// After -p, -w or -a of whatever program: a word with letters and digits, which no port is and no
// path.
bool looks_like_password(std::string_view word) {
  constexpr size_t kLeast = 6;
  if (word.size() < kLeast || word.find_first_of("/.:=") != word.npos) return false;
  return std::ranges::any_of(word, is_digit) &&
         std::ranges::any_of(word, [&](char c) { return is_alnum(c) && !is_digit(c); });
}

std::string hide_parameter(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == text.npos || !is_secret_name(text.substr(0, equals))) return std::string(text);
  return cat(text.substr(0, equals + 1), equals + 1 < text.size() ? kHidden : "");
}

class Hider {
 public:
  explicit Hider(TextIs kind) : kind_(kind) {}
  void add(std::string_view text) {
    text_ = text;
    at_ = 0;
    while (at_ < text_.size()) {
      if (hide_pem() || hide_quoted()) continue;
      if (is_one_of(text_[at_], kBetweenWords)) {
        // What a name announced on one line is not on the next one.
        if (is_one_of(text_[at_], "\n;|&")) forget();
        out_ += text_[at_++];
        continue;
      }
      const size_t end = std::min(text_.find_first_of(kBetweenWords, at_), text_.size());
      const std::string_view word = text_.substr(at_, end - at_);
      at_ = end;
      take(word);
    }
  }
  // One with spaces is one value.
  void add_argument(std::string_view word) {
    if (!out_.empty()) out_ += ' ';
    const bool logs_in = std::exchange(is_next_login_, false) && is_login(word);
    if (std::exchange(is_next_secret_, false) || logs_in) {
      out_ += kHidden;
    } else {
      add(word);
    }
  }
  std::string finish() { return std::move(out_); }

 private:
  void forget() {
    is_next_secret_ = is_next_suspect_ = is_next_login_ = false;
    former_ = {};
    letters_ = {};
  }

  bool hide_pem() {
    constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ";
    if (!text_.substr(at_).starts_with(kBegin)) return false;
    out_ += kHidden;
    const size_t end = text_.find(kEnd, at_);
    at_ = end == text_.npos ? text_.size() : std::min(text_.find('\n', end), text_.size());
    return true;
  }

  // A secret in quotes, whatever is between them.
  bool hide_quoted() {
    const char quote = text_[at_];
    const bool opens = at_ > 0 && is_one_of(text_[at_ - 1], " =:");
    if (!is_next_secret_ || !opens || !is_one_of(quote, "\"'")) return false;
    const size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) return false;
    is_next_secret_ = false;
    out_ += cat(std::string_view(&quote, 1), kHidden, std::string_view(&quote, 1));
    at_ = end + 1;
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
    const std::string_view former = std::exchange(former_, word);
    if (is_next_secret_ && (is_scheme || goes_between(word))) {
      out_ += word;
      return;
    }
    const bool is_suspect = std::exchange(is_next_suspect_, false) && looks_like_password(word);
    const bool logs_in = std::exchange(is_next_login_, false) && is_login(word);
    if (std::exchange(is_next_secret_, false) || is_suspect || logs_in) {
      out_ += kHidden;
      return;
    }
    if (take_login(word)) return;
    if (kind_ == TextIs::arguments && take_short_flag(word)) return;
    const size_t scheme = word.find("://");
    size_t equals = word.find_first_of(scheme == word.npos ? "=:" : "=");
    if (equals > scheme) equals = word.npos;  // of the address
    const std::string_view name = word.substr(0, equals);
    if (equals != word.npos && equals + 1 < word.size()) {
      const std::string_view value = word.substr(equals + 1);
      const bool is_variable = kind_ == TextIs::arguments && word[equals] == '=' &&
                               is_variable_name(name) && !is_plain_value(name, value);
      if (is_secret_name(name) || is_variable) {
        out_ += cat(name, word.substr(equals, 1), kHidden);
        return;
      }
    }
    const bool announces = word.starts_with('-') || equals != word.npos || is_name_of_next();
    is_next_secret_ =
        is_scheme || (announces && is_secret_name(name)) || announces_in_prose(word, former);
    // Of --name=VALUE the value.
    const size_t begins =
        equals < word.size() && word[equals] == '=' && is_name(name) ? equals + 1 : 0;
    const std::string_view value = word.substr(begins);
    out_ += cat(word.substr(0, begins),
                looks_secret(value, kind_) ? std::string(kHidden) : hide_uri_secrets(value));
  }

  // -u or --user, of whatever program.
  bool take_login(std::string_view word) {
    for (const std::string_view flag : {"--user=", "-u"}) {
      if (!word.starts_with(flag) || !is_login(word.substr(flag.size()))) continue;
      out_ += cat(flag, kHidden);
      return true;
    }
    is_next_login_ = word == "-u" || word == "--user";
    return false;
  }

  // "-pWORD" and "-p" of those that take a password so, and what looks as if.
  bool take_short_flag(std::string_view word) {
    if (const std::string_view known = password_letters(word); !known.empty()) letters_ = known;
    if (word.size() < 2 || word[0] != '-' || word[1] == '-') return false;
    const std::string_view value = word.substr(2);
    const bool is_known = is_one_of(word[1], letters_);
    const bool may_be = is_one_of(word[1], "pwa");
    if (!is_known && !may_be) return false;
    if (value.empty()) {
      is_next_secret_ = is_known;
      is_next_suspect_ = !is_known;
      out_ += word;
      return true;
    }
    if (!is_known && !looks_like_password(value)) return false;
    out_ += cat(word.substr(0, 2), kHidden);
    return true;
  }

  std::string_view text_;
  const TextIs kind_;
  size_t at_ = 0;
  bool is_next_secret_ = false, is_next_suspect_ = false, is_next_login_ = false;
  std::string_view former_;   // word
  std::string_view letters_;  // of the client whose flags these are
  std::string out_;
};
}  // namespace

std::string hide_uri_secrets(std::string_view uri) {
  constexpr std::string_view kBetween = "?#&;";
  const size_t path = std::min(uri.find_first_of("?#"), uri.size());
  std::string out = hide_login(uri.substr(0, path));
  uri.remove_prefix(path);
  while (!uri.empty()) {
    const size_t end = std::min(uri.find_first_of(kBetween, 1), uri.size());
    out += cat(uri.substr(0, 1), hide_parameter(uri.substr(1, end - 1)));
    uri.remove_prefix(end);
  }
  return out;
}

std::string hide_secrets(std::string_view text, TextIs kind) {
  Hider hider(kind);
  hider.add(text);
  return hider.finish();
}

std::string hide_secrets(const std::vector<std::string>& arguments) {
  Hider hider(TextIs::arguments);
  for (const std::string& word : arguments) hider.add_argument(word);
  return hider.finish();
}
}  // namespace gantry
