// gantry update, rename
#include "executor/cli/command_list.h"
#include "executor/cli/complaint.h"
#include "executor/cli/print.h"
#include "executor/cli/run_request.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
class Update final : public Command {
 public:
  void declare(Flags& flags) override {
    options_.declare_limits(flags);
    flags.section("How it runs");
    flags.add(0, "restart", "POLICY", &options_.restart,
              "no, on-failure[:TIMES], always or unless-stopped");
    static constexpr ForeignFlag kForeign[] = {{"pids-limit", "pids", {}},
                                               {"cpuset-cpus", "cpuset", {}}};
    flags.know_foreign(kForeign);
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "a container"));
    int status = 0;
    for (const std::string& word : words) {
      const std::string request = GANTRY_TRY(make_request(word));
      const Result<JsonDocument> answer = session.call(request);
      if (answer) {
        write_out(session.json() ? JsonWriter().open().text("container", word).close().line()
                                 : word + "\n");
        continue;
      }
      write_error(answer.error().is(Errc::not_found)
                      ? no_container(word)
                      : in_flags(answer.error().to_string(), request));
      status = status_of(answer.error());
    }
    return status;
  }

 private:
  Result<std::string> make_request(const std::string& container) const {
    JsonWriter json, limits;
    limits.open();
    GANTRY_TRY(write_resources(limits, options_));
    GANTRY_TRY(write_restart(limits, options_));
    if (limits.close().take() == R"({"resources":{}})") {
      return usage_error("says what to change: a limit, or --restart");
    }
    json.open().text("type", "GANTRY_UPDATE").open("gantry_update");
    json.open("container_id").text("value", container).close();
    GANTRY_TRY(write_resources(json, options_));
    GANTRY_TRY(write_restart(json, options_));
    return json.close().close().take();
  }

  RunOptions options_;
};

class Rename final : public Command {
 public:
  void declare(Flags&) override {}
  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 2, 2, "a container and its new name"));
    JsonWriter json;
    json.open().text("type", "GANTRY_UPDATE").open("gantry_update");
    json.open("container_id").text("value", words[0]).close().text("name", words[1]);
    const Result<JsonDocument> answer = session.call(json.close().close().take());
    // Asked again after an executor's death: the refusal says that its predecessor has done it.
    const bool is_done =
        !answer && session.has_asked_again() && answer.error().to_string().ends_with("' already");
    if (!answer && !is_done) {
      constexpr std::string_view kName = "gantry_update.gantry_spec.name: ";
      std::string text = explain_missing(answer.error(), words[0]);
      if (text.starts_with(kName)) text.replace(0, kName.size(), cat("\"", words[1], "\": "));
      return Error(answer.error().code(), text);
    }
    write_out(session.json() ? JsonWriter().open().text("name", words[1]).close().line()
                             : words[1] + "\n");
    return 0;
  }
};
}  // namespace

std::unique_ptr<Command> make_update() { return make_command<Update>(); }
std::unique_ptr<Command> make_rename() { return make_command<Rename>(); }
}  // namespace gantry::cli
