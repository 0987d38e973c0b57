// gantry inspect
#include "executor/cli/command_list.h"
#include "executor/cli/members.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
constexpr ForeignName kDockers[] = {{"Id", "id"},
                                    {"Name", "container.name"},
                                    {"Image", "container.image"},
                                    {"Config.Image", "container.image"},
                                    {"Created", "container.created.nanoseconds"},
                                    {"State.Status", "container.state"},
                                    {"State.Running", "container.state"},
                                    {"State.Pid", "container.pid"},
                                    {"State.ExitCode", "container.exit.shell_status"},
                                    {"State.StartedAt", "container.started.nanoseconds"},
                                    {"State.FinishedAt", "container.finished.nanoseconds"},
                                    {"RestartCount", "container.restarts"},
                                    {"Config.Labels", "container.labels"},
                                    {"Config.Hostname", "container.hostname"},
                                    {"NetworkSettings.IPAddress", "container.ip_addresses"},
                                    {"NetworkSettings.Networks", "container.ip_addresses"},
                                    {"NetworkSettings.Networks.", "container.ip_addresses"},
                                    {"NetworkSettings.Ports", "container.ports"},
                                    {"LogPath", "log_directory"}};

class Inspect final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle(0, "phases", &phases_, "where the time of the launch went, in microseconds");
    flags.add(
        'f', "format", "TEXT", &format_,
        "a line for each, with members of the JSON: '{{.container.state}}', '{{json .launch}}'");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "a container"));
    GANTRY_TRY(check_format(format_, kDockers));
    GANTRY_TRY(check_members(format_, "GantryInspectResponse"));
    if (!format_.empty() && (phases_ || session.json())) {
      return usage_error(cat("--format and ", phases_ ? "--phases" : "--json",
                             " each say how it is printed: give one of them"));
    }
    JsonDocument list(rapidjson::kArrayType);
    int status = 0;
    for (const std::string& word : words) {
      Result<JsonDocument> answer =
          session.call(container_call("GANTRY_INSPECT", "gantry_inspect", word));
      if (!answer) {
        write_error(explain_missing(answer.error(), word));
        status = status_of(answer.error());
        continue;
      }
      const Json* details = find(*answer, "gantry_inspect");
      if (details == nullptr) continue;
      if (phases_ && !session.json()) {
        print_phases(*details);
      } else {
        Json copy(*details, list.GetAllocator());
        if (const Json* container = find(*details, "container")) {
          add_id(copy, *container, list.GetAllocator());
        }
        list.PushBack(copy, list.GetAllocator());
      }
    }
    if (phases_ && !session.json()) return status;
    if (!format_.empty()) {
      for (const Json& details : list.GetArray()) {
        write_out(GANTRY_TRY(fill_in(format_, details)) + "\n");
      }
    } else if (session.json()) {
      write_json(list);
    } else {
      write_out(to_pretty_text(list) + "\n");
    }
    return status;
  }

 private:
  static void print_phases(const Json& details) {
    Table table({"PHASE", "MICROSECONDS", "SHARE"});
    const auto total = static_cast<double>(integer_of(details, "total_microseconds"));
    for (const Json* phase : list_of(details, "phases")) {
      const int64_t time = integer_of(*phase, "microseconds");
      table.add({text_of(*phase, "name"), cat(time),
                 total > 0 ? format_percent(100.0 * static_cast<double>(time) / total) : ""});
    }
    table.add({"total", cat(integer_of(details, "total_microseconds")), ""});
    table.write();
  }

  bool phases_ = false;
  std::string format_;
};
}  // namespace

std::unique_ptr<Command> make_inspect() { return make_command<Inspect>(); }
}  // namespace gantry::cli
