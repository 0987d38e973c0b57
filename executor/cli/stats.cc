// gantry stats
#include <poll.h>
#include <unistd.h>

#include <map>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

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
    static constexpr ForeignFlag kForeign[] = {{"format", {}, "--json, and jq, choose and form"}};
    flags.know_foreign(kForeign);
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    const std::string request = make_request(words);
    Result<JsonDocument> first_look = session.call(request);
    if (!first_look && words.size() == 1) {
      return Error(first_look.error().code(), explain_missing(first_look.error(), words[0]));
    }
    JsonDocument before = GANTRY_TRY(std::move(first_look));
    for (bool first = true;; first = false) {
      // Nothing runs, so nothing has a share of the CPU to be measured.
      const bool is_idle = list_of(before, "gantry_stats.containers").empty();
      if (!is_idle || !first) ::poll(nullptr, 0, first ? 500 : 1000);
      JsonDocument now = GANTRY_TRY(session.call(request));
      if (session.json()) {
        print_json(now, take_samples(before));
      } else {
        if (watch_ && ::isatty(STDOUT_FILENO)) write_out("\033[H\033[2J");
        print_table(now, take_samples(before));
      }
      if (!watch_ || once_) return 0;
      before = std::move(now);
    }
  }

 private:
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

  static void print_table(const JsonDocument& answer, const Samples& before) {
    Table table({"ID", "NAME", "CPU", "MEMORY", "PROCESSES", "READ", "WRITTEN"});
    for (const Json* container : list_of(answer, "gantry_stats.containers")) {
      const Json* statistics = find(*container, "statistics");
      if (statistics == nullptr) continue;
      table.add({short_id(text_of(*container, "container_id.value")), text_of(*container, "name"),
                 format_percent(cpu_percent(*container, before)), describe_memory(*statistics),
                 describe_pids(*statistics),
                 format_bytes(number_of(*statistics, "gantry_io_read_bytes")),
                 format_bytes(number_of(*statistics, "gantry_io_written_bytes"))});
    }
    table.write();
  }

  bool watch_ = false, once_ = false;
};
}  // namespace

std::unique_ptr<Command> make_stats() { return make_command<Stats>(); }
}  // namespace gantry::cli
