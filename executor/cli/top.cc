// gantry top: the processes of a container, from its cgroup and /proc.
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
struct Process {
  int pid = 0, inner_pid = 0, parent = 0;
  uint32_t uid = 0;
  char state = '?';
  double cpu_seconds = 0;
  double memory_bytes = 0;
  std::string command;
};

// Those of what was executed in it too: their cgroups are below its own.
void collect_pids(const std::string& cgroup, std::set<int>& out) {
  const std::string text = sys::read_file(cgroup + "/cgroup.procs").value_or(std::string());
  for (const std::string_view line : split_words(text, '\n')) {
    int pid = 0;
    // 0: a process that our pid namespace does not see.
    if (parse_number(line, pid) && pid != 0) out.insert(pid);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(cgroup.c_str()), &::closedir);
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      collect_pids(cat(cgroup, "/", entry->d_name), out);
    }
  }
}

// The words of the line of /proc/PID/status that begins with `key`.
std::vector<std::string_view> words_of(std::string_view status, std::string_view key) {
  const size_t at = status.find(key);
  if (at == status.npos) return {};
  const std::string_view line = status.substr(at + key.size());
  std::vector<std::string_view> out = split_words(line.substr(0, line.find('\n')), '\t');
  std::erase(out, std::string_view());
  return out;
}

std::string command_of(const std::string& directory, std::string_view name) {
  std::string words = sys::read_file(directory + "/cmdline").value_or(std::string());
  while (words.ends_with('\0')) words.pop_back();
  if (words.empty()) return cat("[", name, "]");
  std::ranges::replace(words, '\0', ' ');
  return words;
}

// nullopt: it has ended.
std::optional<Process> read_process(int pid) {
  const std::string directory = cat("/proc/", pid);
  const Result<std::string> stat = sys::read_file(directory + "/stat");
  const Result<std::string> status = sys::read_file(directory + "/status");
  if (!stat || !status) return std::nullopt;
  const size_t name = stat->find('('), name_end = stat->rfind(')');
  if (name == stat->npos || name_end == stat->npos) return std::nullopt;
  // From field 3 on, the state.
  const auto fields = split_words(std::string_view(*stat).substr(name_end + 2), ' ');
  const auto number = [&fields](size_t index) {
    uint64_t value = 0;
    if (index - 3 < fields.size()) parse_number(fields[index - 3], value);
    return static_cast<double>(value);
  };
  Process out{.pid = pid};
  out.state = fields[0].empty() ? '?' : fields[0][0];
  out.parent = static_cast<int>(number(4));
  out.cpu_seconds = (number(14) + number(15)) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  out.memory_bytes = number(24) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (const auto ids = words_of(*status, "\nUid:"); ids.size() > 1) parse_number(ids[1], out.uid);
  const auto pids = words_of(*status, "\nNSpid:");
  if (!pids.empty()) parse_number(pids.back(), out.inner_pid);
  out.command = command_of(directory, stat->substr(name + 1, name_end - name - 1));
  return out;
}

std::string format_time(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  const auto two = [](int64_t value) { return cat(value < 10 ? "0" : "", value); };
  return cat(two(whole / 3600), ":", two(whole / 60 % 60), ":", two(whole % 60));
}

class Top final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "format", "TEXT", &format_,
              "a line for each: {{.PID}} {{.Inside}} {{.Parent}} {{.User}} {{.State}} {{.CPU}} "
              "{{.Memory}} {{.Command}}, or json");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    GANTRY_TRY(check_format(format_, cells_of({})));
    if (!format_.empty() && session.json()) {
      return usage_error("--format and --json each say how it is printed: give one of them");
    }
    const Result<JsonDocument> answer =
        session.call(container_call("GANTRY_INSPECT", "gantry_inspect", words[0]));
    if (!answer) return Error(answer.error().code(), explain_missing(answer.error(), words[0]));
    const std::string state = text_of(*answer, "gantry_inspect.container.state");
    if (state == "exited" || state == "destroying" || state == "created") {
      return Error(Errc::conflict, cat("container \"", words[0],
                                       "\" does not run; `gantry inspect` says how it ended"));
    }
    std::vector<Process> processes;
    for (const int pid : pids_of(*answer)) {
      if (std::optional<Process> process = read_process(pid)) processes.push_back(*process);
    }
    if (session.json() || format_ == "json") {
      print_json(processes);
      return 0;
    }
    GANTRY_TRY(print_rows(processes));
    return 0;
  }

 private:
  // In the order in which they were made.
  static std::set<int> pids_of(const Json& answer) {
    std::set<int> out;
    for (const Json* path : list_of(answer, "gantry_inspect.cgroups")) {
      collect_pids(path->GetString(), out);
      if (!out.empty()) break;  // each hierarchy has them all
    }
    return out;
  }

  static void print_json(const std::vector<Process>& processes) {
    JsonDocument list(rapidjson::kArrayType);
    auto& allocator = list.GetAllocator();
    for (const Process& process : processes) {
      Json object(rapidjson::kObjectType);
      object.AddMember("pid", process.pid, allocator);
      object.AddMember("inside", process.inner_pid, allocator);
      object.AddMember("parent", process.parent, allocator);
      object.AddMember("uid", process.uid, allocator);
      object.AddMember("state", Json(&process.state, 1, allocator), allocator);
      object.AddMember("cpu_seconds", process.cpu_seconds, allocator);
      object.AddMember("memory_bytes", static_cast<uint64_t>(process.memory_bytes), allocator);
      object.AddMember("command",
                       Json(process.command.data(),
                            static_cast<rapidjson::SizeType>(process.command.size()), allocator),
                       allocator);
      list.PushBack(object, allocator);
    }
    write_json(list);
  }

  static Cells cells_of(const Process& process) {
    return {{"PID", cat(process.pid)},
            {"Inside", cat(process.inner_pid)},
            {"Parent", cat(process.parent)},
            {"User", cat(process.uid)},
            {"State", std::string(1, process.state)},
            {"CPU", format_time(process.cpu_seconds)},
            {"Memory", format_bytes(process.memory_bytes)},
            {"Command", one_line(process.command, 200)}};
  }

  Result<void> print_rows(const std::vector<Process>& processes) const {
    Listing listing({"PID", "INSIDE", "PARENT", "USER", "STATE", "CPU", "MEMORY", "COMMAND"},
                    format_);
    for (const Process& process : processes) {
      GANTRY_TRY(listing.add(cells_of(process)));
    }
    listing.write();
    return {};
  }

  std::string format_;
};
}  // namespace

std::unique_ptr<Command> make_top() { return make_command<Top>(); }
}  // namespace gantry::cli
