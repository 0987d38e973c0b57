// The terminal that `gantry` itself runs at, lent to a container: raw while that has it, and as it
// was on every way out but SIGKILL.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "executor/cli/json.h"

namespace gantry::cli {
struct WindowSize {
  uint16_t rows = 24, columns = 80;
};
// Of stdin's terminal; the default where it does not say.
WindowSize window_size();
// Of a launch request: a terminal of that size.
void write_terminal(JsonWriter& json);

// Lifetime: while the container has it.
class RawTerminal {
 public:
  RawTerminal() = default;
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal() { restore(); }
  // Stdin's terminal: every byte as it is typed. Again where somebody else has set it meanwhile.
  Result<void> enter();
  void restore();

 private:
  std::optional<termios> before_;
};

inline constexpr char kDetachKeys[] = "ctrl-p,ctrl-q";  // docker's
inline constexpr char kDetachKeysHelp[] =
    "what leaves the terminal: letters and ctrl-LETTER, joined by commas; empty: nothing does "
    "(default ctrl-p,ctrl-q)";
// The bytes those keys type.
Result<std::string> parse_detach_keys(std::string_view text);

// The keys that leave a container, among what is typed.
class DetachKeys {
 public:
  explicit DetachKeys(std::string sequence) : sequence_(std::move(sequence)) {}
  // What of it is for the container; nullopt when the keys were complete.
  std::optional<std::string> pass(std::string_view typed);

 private:
  std::string sequence_;
  size_t held_ = 0;  // as many of them were typed last, and are held back
};
}  // namespace gantry::cli
