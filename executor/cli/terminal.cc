#include "executor/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace gantry::cli {
namespace {
constexpr char kFirstKey = 'p' & 0x1f, kSecondKey = 'q' & 0x1f;
}  // namespace

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
  if (before_) return {};
  termios now = {};
  if (::tcgetattr(STDIN_FILENO, &now) != 0) return Error::from_errno(errno, "read the terminal");
  const termios before = now;
  ::cfmakeraw(&now);
  if (::tcsetattr(STDIN_FILENO, TCSADRAIN, &now) != 0) {
    return Error::from_errno(errno, "make the terminal raw");
  }
  before_ = before;
  return {};
}

void RawTerminal::restore() {
  if (before_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
  before_.reset();
}

std::optional<std::string> DetachKeys::pass(std::string_view typed) {
  std::string out;
  for (const char key : typed) {
    if (is_begun_ && key == kSecondKey) return std::nullopt;
    if (is_begun_) out += kFirstKey;
    is_begun_ = key == kFirstKey;
    if (!is_begun_) out += key;
  }
  return out;
}
}  // namespace gantry::cli
