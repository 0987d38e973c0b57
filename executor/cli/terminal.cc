#include "executor/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "executor/cli/request_words.h"

namespace gantry::cli {
WindowSize window_size() {
  winsize size = {};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    return {};
  }
  return {.rows = size.ws_row, .columns = size.ws_col};
}

void write_terminal(JsonWriter& json) {
  const WindowSize size = window_size();
  json.boolean("tty", true).open("window_size");
  json.integer("rows", size.rows).integer("columns", size.columns).close();
}

Result<void> RawTerminal::enter() {
  termios now = {};
  if (::tcgetattr(STDIN_FILENO, &now) != 0) return Error::from_errno(errno, "read the terminal");
  const termios before = now;
  ::cfmakeraw(&now);
  if (::tcsetattr(STDIN_FILENO, TCSADRAIN, &now) != 0) {
    return Error::from_errno(errno, "make the terminal raw");
  }
  if (!before_) before_ = before;
  return {};
}

void RawTerminal::restore() {
  if (before_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
  before_.reset();
}

namespace {
// '@' to '_' are the keys with a control character.
std::optional<char> key_byte(std::string_view key) {
  if (key.size() == 1) return key[0];
  if (!key.starts_with("ctrl-") || key.size() != 6) return std::nullopt;
  const char letter = key[5] >= 'a' && key[5] <= 'z' ? static_cast<char>(key[5] - 32) : key[5];
  if (letter < '@' || letter > '_') return std::nullopt;
  return static_cast<char>(letter & 0x1f);
}
}  // namespace

Result<std::string> parse_detach_keys(std::string_view text) {
  std::string out;
  if (text.empty()) return out;
  for (const std::string_view key : split_words(text, ',')) {
    const std::optional<char> byte = key_byte(key);
    if (!byte) {
      return usage_error(cat("--detach-keys \"", text, "\": \"", key,
                             "\" is no key; write letters and ctrl-LETTER, joined by commas"));
    }
    out += *byte;
  }
  return out;
}

std::optional<std::string> DetachKeys::pass(std::string_view typed) {
  if (sequence_.empty()) return std::string(typed);
  std::string out;
  std::string seen = sequence_.substr(0, held_);
  for (const char key : typed) {
    seen += key;
    while (!std::string_view(sequence_).starts_with(seen)) {
      out += seen[0];
      seen.erase(0, 1);
    }
    if (seen.size() == sequence_.size()) return std::nullopt;
  }
  held_ = seen.size();
  return out;
}
}  // namespace gantry::cli
