// The flags of one command: declared once, parsed from argv, printed as help, Markdown and man
// page.
//
// Why not CLI11: declaring forty options with it costs 250 µs and the iostreams of a static program
// a page of start-up work; this costs 5 µs. `gantry run` is measured against a 4 ms launch.
// docs/adr/0011-command-line.md has the numbers.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace gantry::cli {
// Where a flag's value goes; the type says how it is given.
//   bool*                      --flag, --flag=false
//   std::string*               one value; it cannot be empty
//   std::optional<string>*     the same, and tells "not given" from "empty"
//   std::vector<std::string>*  may be repeated
using FlagTarget =
    std::variant<bool*, std::string*, std::optional<std::string>*, std::vector<std::string>*>;

struct Flag {
  char letter;            // 'e' for -e; 0: none
  std::string_view name;  // "env" for --env
  // What help calls the value; empty for switches. "[FILE]": with = it has one, else it is empty.
  std::string_view value;
  std::string_view help;
  std::string_view section;  // heading in help
  FlagTarget target;
};

// A flag that users of docker and podman bring along.
struct ForeignFlag {
  std::string_view name;  // one letter: -t
  std::string_view here;  // what it is called here; empty: there is none
  std::string_view hint;  // what to do instead
  // The value with which it asks for what is always so; "true": a switch. It is taken then.
  std::string_view always = {};
};

class Flags {
 public:
  void section(std::string_view title) { section_ = title; }
  void add(char letter, std::string_view name, std::string_view value, FlagTarget target,
           std::string_view help) {
    flags_.push_back({letter, name, value, help, section_, target});
  }
  void toggle(char letter, std::string_view name, bool* target, std::string_view help) {
    add(letter, name, {}, target, help);
  }
  // `gantry run -d IMAGE ls -l`: what follows the first argument belongs to the container.
  void stop_at_first_argument() { stop_at_first_argument_ = true; }
  // `table` outlives the flags. What the first one that knows a flag says counts.
  void know_foreign(std::span<const ForeignFlag> table) { foreign_.push_back(table); }
  // `gantry executor --anything`: flags that are not ours stay arguments.
  void pass_unknown() { pass_unknown_ = true; }

  // The arguments that are not flags. Sets targets on the way; an error names the flag and, where
  // one is near, the flag that was meant.
  Result<std::vector<std::string>> parse(const std::vector<std::string>& argv) const;

  const std::vector<Flag>& all() const { return flags_; }

 private:
  struct Cursor;
  const Flag* find(std::string_view name) const;
  const Flag* find(char letter) const;
  const ForeignFlag* find_foreign(std::string_view name) const;
  static bool is_always_so(const ForeignFlag& flag, std::optional<std::string_view> value,
                           Cursor& cursor);
  Result<bool> parse_long(Cursor& cursor) const;
  Result<bool> parse_short(Cursor& cursor) const;

  std::vector<Flag> flags_;
  std::vector<std::span<const ForeignFlag>> foreign_;
  std::string_view section_ = "Flags";
  bool stop_at_first_argument_ = false;
  bool pass_unknown_ = false;
};

// The candidate nearest to `word` by edit distance, or empty when none is near.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);
}  // namespace gantry::cli
