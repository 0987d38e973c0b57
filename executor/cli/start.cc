// gantry start, restart
#include <poll.h>

#include "executor/cli/command_list.h"
#include "executor/cli/foreground.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/terminal.h"

namespace gantry::cli {
namespace {
// So often, a fiftieth of a second apart, it is looked whether another client starts it.
constexpr int kMostLooks = 50;

void report(const Session& session, const std::string& word) {
  write_out(session.json() ? JsonWriter().open().text("container", word).close().line()
                           : word + "\n");
}

// One after the other; a failure is printed and does not stop the others.
template <class Action>
int for_each(const Session& session, const std::vector<std::string>& words, Action action) {
  int status = 0;
  for (const std::string& word : words) {
    const Result<void> done = action(word);
    if (done) {
      report(session, word);
    } else {
      write_error(explain_missing(done.error(), word));
      status = status_of(done.error());
    }
  }
  return status;
}

enum class Reader { none, comes };  // one that removes itself waits until its output was read

// `now`: what GANTRY_INSPECT says of it. One that runs is refused, as it was; one that was started
// since is what was asked for.
Result<void> start(Session& session, const std::string& word, const Json& now,
                   Reader reader = Reader::none) {
  JsonWriter json;
  json.open().text("type", "GANTRY_START").open("gantry_start");
  json.open("container_id").text("value", word).close();
  if (reader == Reader::comes) json.boolean("await_reader", true);
  if (text_of(now, "gantry_inspect.container.state") != "running") {
    json.open("after_end");
    json.integer("nanoseconds", integer_of(now, "gantry_inspect.container.finished.nanoseconds"));
    json.close();
  }
  Result<JsonDocument> answer = session.call(json.close().close().take());
  const bool has_gone = !answer && answer.error().is(Errc::not_found) && session.has_asked_again();
  if (answer || has_gone) return {};  // it removed itself
  return std::move(answer).error();
}

Result<JsonDocument> inspect(Session& session, const std::string& word) {
  return session.call(container_call("GANTRY_INSPECT", "gantry_inspect", word));
}

Result<void> look_and_start(Session& session, const std::string& word) {
  return start(session, word, GANTRY_TRY(inspect(session, word)));
}

class Start final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('a', "attach", &attach_, "be at its output, and end with its exit status");
    flags.toggle('i', "interactive", &interactive_,
                 "with -a: pass on stdin, if it was run with -i");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, attach_ ? 1 : ~0u, "a container"));
    if (interactive_ && !attach_) {
      return usage_error("-i passes on this shell's stdin, which needs -a too");
    }
    if (attach_) return start_attached(session, words[0]);
    return for_each(session, words,
                    [&](const std::string& word) { return look_and_start(session, word); });
  }

 private:
  Result<int> start_attached(Session& session, const std::string& word) const {
    const Result<JsonDocument> answer = inspect(session, word);
    if (!answer) return Error(answer.error().code(), explain_missing(answer.error(), word));
    const bool has_terminal = flag_of(*answer, "gantry_inspect.launch.gantry_spec.tty");
    const bool takes_input =
        has_terminal || flag_of(*answer, "gantry_inspect.launch.gantry_spec.open_stdin");
    if (interactive_ && !takes_input) {
      return usage_error(cat("-i: container \"", word, "\" was run without -i, and has no stdin"));
    }
    const ForegroundOptions options = {.stdin_attached = interactive_,
                                       .terminal = has_terminal && interactive_,
                                       .detach_keys = GANTRY_TRY(parse_detach_keys(kDetachKeys)),
                                       .json = session.json(),
                                       .name = word};
    if (options.terminal) GANTRY_TRY(check_terminal(true));
    const std::string id = text_of(*answer, "gantry_inspect.container.container_id.value");
    return attach_in_foreground(session, {.id = id, .parent = {}}, options,
                                [&] { return start(session, word, *answer, Reader::comes); });
  }

  bool attach_ = false, interactive_ = false;
};

class Restart final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add('t', "time", "SECONDS", &time_,
              "how long to wait before SIGKILL (default: the container's --stop-timeout, else 10)");
    static constexpr ForeignFlag kForeign[] = {{"timeout", "time", {}}};
    flags.know_foreign(kForeign);
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "a container"));
    std::optional<uint32_t> seconds;
    if (!time_.empty()) seconds = GANTRY_TRY(whole_number<uint32_t>("--time", time_));
    return for_each(session, words, [&](const std::string& word) -> Result<void> {
      const Result<JsonDocument> stopped = session.call(stop_request(word, seconds));
      // One that was created and never started is only started.
      if (!stopped && !stopped.error().is(Errc::busy)) return stopped.error();
      Result<void> started = look_and_start(session, word);
      if (!started && is_started_by_another(session, word, started.error())) return {};
      return stopped || started ? started : Result<void>(stopped.error());
    });
  }

 private:
  // Somebody else has started it meanwhile, or has stopped it, to start it at once.
  static bool is_started_by_another(Session& session, const std::string& word, const Error& error) {
    const bool was_stopped = error.to_string().starts_with("killed while");
    if (!was_stopped && !error.is(Errc::busy)) return false;
    for (int looks = 0; looks < kMostLooks; ++looks) {
      const Result<JsonDocument> answer = inspect(session, word);
      if (!answer) return false;
      if (text_of(*answer, "gantry_inspect.container.state") == "running") return true;
      ::poll(nullptr, 0, 20);
    }
    return false;
  }

  static std::string stop_request(const std::string& word, std::optional<uint32_t> seconds) {
    JsonWriter json;
    json.open().text("type", "GANTRY_STOP").open("gantry_stop");
    json.open("container_id").text("value", word).close();
    if (seconds) json.integer("timeout_seconds", *seconds);
    return json.close().close().take();
  }

  std::string time_;
};
}  // namespace

std::unique_ptr<Command> make_start() { return make_command<Start>(); }
std::unique_ptr<Command> make_restart() { return make_command<Restart>(); }
}  // namespace gantry::cli
