// gantry exec
#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/complaint.h"
#include "executor/cli/foreground.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/terminal.h"

namespace gantry::cli {
namespace {
class Exec final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.stop_at_first_argument();
    flags.toggle('d', "detach", &detach_, "do not wait; its output goes nowhere");
    flags.toggle('i', "interactive", &interactive_, "pass on stdin; without it stdin is /dev/null");
    flags.toggle('t', "tty", &terminal_, "with a terminal; -it lends it this one");
    flags.add(0, "detach-keys", "KEYS", &detach_keys_, kDetachKeysHelp);
    flags.add('e', "env", "NAME=VALUE", &env_,
              "a further variable; NAME alone passes on the value here");
    flags.add('u', "user", "USER[:GROUP]", &user_,
              "names or numbers (default: the container's user)");
    flags.add('w', "workdir", "DIR", &workdir_, "the working directory (default: the container's)");
    flags.toggle(
        0, "privileged", &privileged_,
        "every capability that can be had here, and no seccomp; devices are the container's");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    // `gantry exec web -- ls`, as kubectl has it.
    if (words.size() > 1 && words[1] == "--") words.erase(words.begin() + 1);
    if (words.size() < 2) return usage_error("needs a CONTAINER and a COMMAND");
    if (detach_ && interactive_) {
      return usage_error("-i passes on this shell's stdin, and -d leaves it: give one of them");
    }
    if (detach_ && detach_keys_) {
      return usage_error(
          "--detach-keys are typed at a terminal, and -d leaves it: give one of them");
    }
    if (interactive_) GANTRY_TRY(session.need_local("-i"));
    if (terminal_) GANTRY_TRY(session.need_local("-t"));
    if (terminal_ && !detach_) GANTRY_TRY(check_terminal(interactive_));
    std::string keys = GANTRY_TRY(parse_detach_keys(detach_keys_.value_or(kDetachKeys)));
    const ContainerRef container = {.id = sys::random_hex(16), .parent = words[0]};
    words.erase(words.begin());
    const std::string request = GANTRY_TRY(make_request(container, words));
    if (!detach_) {
      return run_in_foreground(session, container, request,
                               {.stdin_attached = interactive_,
                                .terminal = terminal_,
                                .detach_keys = std::move(keys),
                                .json = session.json(),
                                .name = container.parent});
    }
    const HttpResponse response = GANTRY_TRY(session.exchange(request));
    if (response.head.status / 100 != 2) return report_launch_failure(session, response, request);
    if (session.json()) write_out(JsonWriter().open().text("id", container.id).close().line());
    return 0;
  }

 private:
  Result<std::string> make_request(const ContainerRef& container,
                                   const std::vector<std::string>& words) const {
    JsonWriter json;
    json.open();
    if (detach_) {
      json.text("type", "LAUNCH_CONTAINER").open("launch_container");
    } else {
      json.text("type", "GANTRY_RUN").open("gantry_run").open("launch");
    }
    write_container_id(json, container);
    json.open("gantry_spec");
    write_strings(json, "args", words);
    GANTRY_TRY(write_env(json, env_));
    if (!workdir_.empty()) json.text("cwd", workdir_);
    if (!user_.empty()) json.text("user", user_);
    if (privileged_) {
      write_strings(json, "cap_add", obtainable_capabilities());
      json.open("seccomp").text("mode", "UNCONFINED").close().boolean("no_new_privileges", false);
    }
    if (interactive_) json.boolean("open_stdin", true);
    if (terminal_) write_terminal(json);
    json.boolean("remove_on_exit", true).close();
    if (!detach_) json.close();
    return json.close().close().take();
  }

  bool detach_ = false, interactive_ = false, terminal_ = false, privileged_ = false;
  std::vector<std::string> env_;
  std::string user_, workdir_;
  std::optional<std::string> detach_keys_;
};
}  // namespace

std::unique_ptr<Command> make_exec() { return make_command<Exec>(); }
}  // namespace gantry::cli
