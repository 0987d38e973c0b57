// gantry stats
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
struct Sample {
  double time = 0, cpu_seconds = 0;
};
using Samples = std::map<std::string, Sample>;

Samples take_samples(const Json& answer) {
  Samples out;
  for (const Json* container : list_of(answer, "gantry_stats.containers")) {
    out[text_of(*container, "container_id.value")] = {
        number_of(*container, "statistics.timestamp"),
        number_of(*container, "statistics.cpus_user_time_secs") +
            number_of(*container, "statistics.cpus_system_time_secs")};
  }
  return out;
}

std::string describe_memory(const Json& statistics) {
  const double used = number_of(statistics, "mem_total_bytes");
  const double limit = number_of(statistics, "mem_limit_bytes");
  // No limit is a number near 2^63 on cgroup v1.
  const bool limited = limit > 0 && limit < 9e18;
  return limited ? cat(format_bytes(used), " / ", format_bytes(limit), " (",
                       format_percent(100 * used / limit), ")")
                 : format_bytes(used);
}

std::string describe_pids(const Json& statistics) {
  const int64_t limit = integer_of(statistics, "gantry_pids_limit");
  const int64_t threads = integer_of(statistics, "threads");
  const int64_t count = threads > 0 ? threads : integer_of(statistics, "processes");
  return limit > 0 && limit < INT32_MAX ? cat(count, " / ", limit) : cat(count);
}

class Stats final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('w', "watch", &watch_, "again every second, until interrupted");
    flags.toggle(0, "no-stream", &once_, "once, as is the default; docker's spelling");
    flags.add(0, "format", "TEXT", &format_,
              "a line for each: {{.ID}} {{.Name}} {{.CPU}} {{.Memory}} {{.Processes}} {{.Read}} "
              "{{.Written}}, or json");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    if (watch_ && once_) {
      return usage_error("--watch goes on, and --no-stream looks once: give one of them");
    }
    const Json none(rapidjson::kObjectType);
    GANTRY_TRY(check_format(format_, cells_of(none, none, {})));
    if (!format_.empty() && session.json()) {
      return usage_error("--format and --json each say how it is printed: give one of them");
    }
    const std::string request = make_request(words);
    JsonDocument before = GANTRY_TRY(session.call(request));
    const int status = name_those_that_do_not_run(before, words);
    if (status != 0 && list_of(before, "gantry_stats.containers").empty()) return status;
    for (bool first = true;; first = false) {
      // Nothing runs, so nothing has a share of the CPU to be measured.
      const bool is_idle = list_of(before, "gantry_stats.containers").empty();
      if (!is_idle || !first) ::poll(nullptr, 0, first ? 500 : 1000);
      JsonDocument now = GANTRY_TRY(session.call(request));
      if (session.json() || format_ == "json") {
        print_json(now, take_samples(before));
      } else {
        if (watch_ && has_escapes(STDOUT_FILENO)) write_out("\033[H\033[2J");
        GANTRY_TRY(print_rows(now, take_samples(before)));
      }
      if (!watch_) return status;
      before = std::move(now);
    }
  }

 private:
  // They have no statistics, and the executor leaves them out.
  static int name_those_that_do_not_run(const Json& answer, const std::vector<std::string>& words) {
    int status = 0;
    for (const std::string& word : words) {
      const auto is_it = [&](const Json* container) {
        return text_of(*container, "name") == word ||
               text_of(*container, "container_id.value").starts_with(word);
      };
      if (std::ranges::any_of(list_of(answer, "gantry_stats.containers"), is_it)) continue;
      write_error(cat("container \"", word, "\" does not run, so it uses nothing"));
      status = 1;
    }
    return status;
  }

  static std::string make_request(const std::vector<std::string>& words) {
    JsonWriter json;
    json.open().text("type", "GANTRY_STATS").open("gantry_stats").open_list("container_ids");
    for (const std::string& word : words) {
      json.open().text("value", word).close();
    }
    return json.close_list().close().close().take();
  }

  // Percent of one CPU since the sample before.
  static double cpu_percent(const Json& container, const Samples& before) {
    const auto it = before.find(text_of(container, "container_id.value"));
    if (it == before.end()) return 0;
    const double time = number_of(container, "statistics.timestamp") - it->second.time;
    const double used = number_of(container, "statistics.cpus_user_time_secs") +
                        number_of(container, "statistics.cpus_system_time_secs") -
                        it->second.cpu_seconds;
    return time > 0 && used > 0 ? 100 * used / time : 0;
  }

  static void print_json(const JsonDocument& answer, const Samples& before) {
    JsonDocument list(rapidjson::kArrayType);
    for (const Json* container : list_of(answer, "gantry_stats.containers")) {
      Json copy(*container, list.GetAllocator());
      add_id(copy, *container, list.GetAllocator());
      copy.AddMember("cpu_percent", Json(cpu_percent(*container, before)), list.GetAllocator());
      list.PushBack(copy, list.GetAllocator());
    }
    write_json(list);
  }

  static Cells cells_of(const Json& container, const Json& statistics, const Samples& before) {
    return {{"ID", short_id(text_of(container, "container_id.value"))},
            {"Name", text_of(container, "name")},
            {"CPU", format_percent(cpu_percent(container, before))},
            {"Memory", describe_memory(statistics)},
            {"Processes", describe_pids(statistics)},
            {"Read", format_bytes(number_of(statistics, "gantry_io_read_bytes"))},
            {"Written", format_bytes(number_of(statistics, "gantry_io_written_bytes"))}};
  }

  Result<void> print_rows(const JsonDocument& answer, const Samples& before) const {
    Listing listing({"ID", "NAME", "CPU", "MEMORY", "PROCESSES", "READ", "WRITTEN"}, format_,
                    std::vector<std::string_view>{});
    for (const Json* container : list_of(answer, "gantry_stats.containers")) {
      const Json* statistics = find(*container, "statistics");
      if (statistics == nullptr) continue;
      GANTRY_TRY(listing.add(cells_of(*container, *statistics, before)));
    }
    listing.write();
    return {};
  }

  bool watch_ = false, once_ = false;
  std::string format_;
};
}  // namespace

std::unique_ptr<Command> make_stats() { return make_command<Stats>(); }
}  // namespace gantry::cli
