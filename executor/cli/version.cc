// gantry version, help
#include "executor/cli/command_list.h"
#include "executor/cli/help.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/version.h"

namespace gantry::cli {
namespace {
class Version final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle(0, "executor", &executor_, "also the executor's version");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    std::string theirs;
    if (executor_) {
      const JsonDocument answer = GANTRY_TRY(session.call(R"({"type":"GET_VERSION"})"));
      theirs = text_of(answer, "get_version.version_info.version");
    }
    if (session.json()) {
      JsonWriter json;
      json.open().text("version", kVersion);
      if (executor_) json.text("executor", theirs);
      write_out(json.close().line());
      return 0;
    }
    write_out(
        cat("gantry ", kVersion, "\n", executor_ ? cat("gantry-executor ", theirs, "\n") : ""));
    return 0;
  }

 private:
  bool executor_ = false;
};

class Help final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle(0, "markdown", &markdown_, "all commands as Markdown");
    flags.toggle(0, "man", &man_, "all commands as a man page");
  }

  Result<int> run(Session&, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 1, "one command"));
    if (markdown_ || man_) {
      write_out(markdown_ ? markdown_reference() : man_page());
      return 0;
    }
    if (words.empty()) {
      write_out(overview_help());
      return 0;
    }
    const CommandInfo* info = find_command(words[0]);
    if (info == nullptr) {
      return usage_error(cat("\"", words[0], "\" is not a command. 'gantry --help' lists them"));
    }
    write_out(command_help(*info));
    return 0;
  }

 private:
  bool markdown_ = false, man_ = false;
};
}  // namespace

std::unique_ptr<Command> make_version() { return make_command<Version>(); }
std::unique_ptr<Command> make_help() { return make_command<Help>(); }
}  // namespace gantry::cli
