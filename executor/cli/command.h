// What a command is. One table (commands.cc) lists them all; dispatch, help, docs/cli.md and the
// man page are made from it. Only the chosen command is built and only its flags are declared.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "executor/cli/flags.h"

namespace gantry::cli {
class Session;

class Command {
 public:
  virtual ~Command() = default;
  virtual void declare(Flags& flags) = 0;
  // The exit status, or an error that main prints.
  virtual Result<int> run(Session& session, std::vector<std::string> arguments) = 0;
};

struct CommandInfo {
  std::string_view name;
  std::string_view group;      // heading in `gantry --help`
  std::string_view arguments;  // after the name, e.g. "[flags] CONTAINER..."
  std::string_view summary;    // one line
  std::string_view text;       // paragraphs of help
  std::string_view examples;   // lines: "command   # what it does"
  std::unique_ptr<Command> (*make)();
  int failure_status = 1;  // exit status of an error; docker's 125 for run
  bool hidden = false;
};

std::span<const CommandInfo> commands();
const CommandInfo* find_command(std::string_view name);

template <class T>
std::unique_ptr<Command> make_command() {
  return std::make_unique<T>();
}

// Usage mistakes: docker's status.
inline constexpr int kUsageStatus = 125;
inline constexpr int kLaunchFailureStatus = 125;
// A mistake in the words of the command line, told from failures by main.
Error usage_error(std::string message);
bool is_usage_error(const Error& error);
// Of a command that does the same for each of several words: what a failure makes its exit status.
int status_of(const Error& error);
// One argument or more, each a container; the error says how the command is called.
Result<void> want_arguments(const std::vector<std::string>& arguments, size_t least, size_t most,
                            std::string_view what);
}  // namespace gantry::cli
