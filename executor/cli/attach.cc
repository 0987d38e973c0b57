// gantry attach
#include "executor/cli/command_list.h"
#include "executor/cli/foreground.h"
#include "executor/cli/session.h"
#include "executor/cli/terminal.h"

namespace gantry::cli {
namespace {
class Attach final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle(0, "no-stdin", &no_stdin_, "only look on");
    flags.add(0, "detach-keys", "KEYS", &detach_keys_, kDetachKeysHelp);
    static constexpr ForeignFlag kForeign[] = {
        {"sig-proxy", {}, "signals go to the container"},
    };
    flags.know_foreign(kForeign);
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "a container"));
    if (no_stdin_ && detach_keys_) {
      return usage_error("--detach-keys are typed, and --no-stdin only looks on: give one of them");
    }
    std::string keys = GANTRY_TRY(parse_detach_keys(detach_keys_.value_or(kDetachKeys)));
    const Result<JsonDocument> answer =
        session.call(container_call("GANTRY_INSPECT", "gantry_inspect", words[0]));
    if (!answer) return Error(answer.error().code(), explain_missing(answer.error(), words[0]));
    const Json* details = find(*answer, "gantry_inspect");
    if (details == nullptr) return Error(Errc::corrupt, "the executor's answer is empty");
    const std::string state = text_of(*details, "container.state");
    if (state != "running" && state != "paused") {
      return Error(Errc::conflict,
                   cat("container '", words[0], "' ",
                       state == "exited" || state == "destroying" ? "has ended" : cat("is ", state),
                       "; `gantry logs` shows what it said"));
    }
    const bool has_terminal = flag_of(*details, "launch.gantry_spec.tty") ||
                              find(*details, "launch.container.tty_info") != nullptr;
    const bool takes_input = has_terminal || flag_of(*details, "launch.gantry_spec.open_stdin");
    ForegroundOptions options = {.stdin_attached = takes_input && !no_stdin_,
                                 .terminal = has_terminal && !no_stdin_,
                                 .detach_keys = std::move(keys),
                                 .json = session.json(),
                                 .name = words[0]};
    if (options.stdin_attached || options.terminal) {
      GANTRY_TRY(session.need_local("its input (--no-stdin leaves it)"));
    }
    if (options.terminal) GANTRY_TRY(check_terminal(options.stdin_attached));
    return attach_in_foreground(
        session, {.id = text_of(*details, "container.container_id.value"), .parent = {}}, options);
  }

 private:
  bool no_stdin_ = false;
  std::optional<std::string> detach_keys_;
};
}  // namespace

std::unique_ptr<Command> make_attach() { return make_command<Attach>(); }
}  // namespace gantry::cli
