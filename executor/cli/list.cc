// gantry ps
#include <fnmatch.h>

#include <algorithm>
#include <array>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
double seconds_of(const Json& container, std::string_view field) {
  return static_cast<double>(integer_of(container, cat(field, ".nanoseconds"))) / 1e9;
}

// One whose end is known has ended, though its kernel objects may still be going (a WAIT was
// answered).
bool has_ended(const Json& container) {
  const std::string state = text_of(container, "state");
  return state == "exited" || (state == "destroying" && find(container, "exit") != nullptr);
}

bool is_checkpointed(const Json& container) {
  return has_ended(container) && text_of(container, "exit.kind") == "SIGNALLED" &&
         text_of(container, "exit.reason").starts_with("checkpointed");
}

// As docker's: " (healthy)", " (health: starting)"; empty where nothing is checked.
std::string describe_health(const Json& container) {
  const std::string health = text_of(container, "health.status");
  if (health.empty()) return {};
  return health == "starting" ? " (health: starting)" : cat(" (", health, ")");
}

// "running for 5 minutes", "exited (3) 2 hours ago", "paused".
std::string describe_state(const Json& container, double now) {
  const std::string state = text_of(container, "state");
  if (has_ended(container)) {
    const std::string kind = text_of(container, "exit.kind");
    std::string how = cat(integer_of(container, "exit.shell_status", 125));
    if (kind == "SIGNALLED")
      how = signal_name(static_cast<int>(integer_of(container, "exit.code")));
    if (kind == "LIMITED") how = "limit reached";
    if (kind == "LOST" || kind == "FAILED") how = kind == "LOST" ? "lost" : "failed";
    const double finished = seconds_of(container, "finished");
    return cat(is_checkpointed(container) ? std::string("checkpointed") : cat("exited (", how, ")"),
               finished > 0 ? cat(" ", format_age(now - finished), " ago") : "",
               flag_of(container, "restart_due") ? ", starts again" : "");
  }
  const double started = seconds_of(container, "started");
  if (started <= 0) return state + describe_health(container);
  const std::string age = format_age(now - started);
  return (state == "running" ? cat("running for ", age) : cat(state, ", started ", age, " ago")) +
         describe_health(container);
}

std::string describe_command(const Json& container) {
  std::string out;
  for (const Json* word : list_of(container, "command")) {
    if (word->IsString()) out += cat(out.empty() ? "" : " ", word->GetString());
  }
  return one_line(out, 32);
}

// Those that are published; of one that has ended none is.
std::string describe_ports(const Json& container) {
  std::string out;
  if (has_ended(container)) return out;
  for (const Json* port : list_of(container, "ports")) {
    const std::string address = text_of(*port, "host_ip");
    out += cat(out.empty() ? "" : ", ", address, address.empty() ? "" : ":",
               integer_of(*port, "host_port"), "->", integer_of(*port, "container_port"), "/",
               text_of(*port, "protocol", "tcp"));
  }
  return out;
}

std::string describe_labels(const Json& container) {
  std::string out;
  const Json* labels = find(container, "labels");
  if (labels == nullptr || !labels->IsObject()) return out;
  for (const auto& label : labels->GetObject()) {
    out += cat(out.empty() ? "" : ",", label.name.GetString(), "=", label.value.GetString());
  }
  return out;
}

struct Filter {
  std::string key, value;
};

// What `state` may be (api/types/container_state.cc, without "removed", which nobody sees).
constexpr auto kStates = std::to_array<std::string_view>(
    {"creating", "created", "provisioning", "preparing", "launching", "restoring", "running",
     "paused", "checkpointing", "destroying", "exited", "checkpointed"});

constexpr auto kHealth =
    std::to_array<std::string_view>({"starting", "healthy", "unhealthy", "none"});

// name=…, id=…, state=…, exited=STATUS, image=…, label=KEY[=VALUE], health=…; status and ancestor
// are docker's words for state and image.
Result<Filter> parse_filter(const std::string& word) {
  constexpr std::string_view kKeys[] = {"name",  "id",    "state", "exited",
                                        "image", "label", "health"};
  const size_t equals = word.find('=');
  if (equals == word.npos) return usage_error(cat("--filter ", word, ": write KEY=VALUE"));
  Filter out{word.substr(0, equals), word.substr(equals + 1)};
  if (out.key == "status") out.key = "state";
  if (out.key == "ancestor") out.key = "image";
  if (std::ranges::find(kKeys, out.key) == std::end(kKeys)) {
    return usage_error(
        cat("--filter ", word, ": the key is name, id, state, exited, image, label or health"));
  }
  if (out.key == "state" && std::ranges::find(kStates, out.value) == kStates.end()) {
    std::string legal;
    for (const std::string_view state : kStates) legal += cat(legal.empty() ? "" : ", ", state);
    return usage_error(cat("--filter ", word, ": the state is one of ", legal));
  }
  if (out.key == "health" && std::ranges::find(kHealth, out.value) == kHealth.end()) {
    return usage_error(
        cat("--filter ", word, ": the health is one of starting, healthy, unhealthy, none"));
  }
  int status = 0;
  if (out.key == "exited" && !parse_number(out.value, status)) {
    return usage_error(cat("--filter ", word, ": the exit status is a number"));
  }
  return out;
}

// A part of the text. With * or ? the whole of it, and ^ and $ are its ends, as in docker's.
bool fits(std::string_view text, std::string_view pattern) {
  const bool at_begin = pattern.starts_with('^'), at_end = pattern.ends_with('$');
  if (at_begin) pattern.remove_prefix(1);
  if (at_end && !pattern.empty()) pattern.remove_suffix(1);
  if (pattern.find_first_of("*?") != pattern.npos) {
    return ::fnmatch(std::string(pattern).c_str(), std::string(text).c_str(), 0) == 0;
  }
  if (at_begin && at_end) return text == pattern;
  if (at_begin) return text.starts_with(pattern);
  return at_end ? text.ends_with(pattern) : text.find(pattern) != text.npos;
}

bool has_label(const Json& container, const std::string& wanted) {
  const size_t equals = wanted.find('=');
  const Json* labels = find(container, "labels");
  if (labels == nullptr || !labels->IsObject()) return false;
  const auto member = labels->FindMember(wanted.substr(0, equals).c_str());
  if (member == labels->MemberEnd()) return false;
  return equals == wanted.npos ||
         (member->value.IsString() &&
          fits(member->value.GetString(), cat("^", wanted.substr(equals + 1), "$")));
}

bool passes(const Json& container, const Filter& filter) {
  const std::string& value = filter.value;
  if (filter.key == "name") return fits(text_of(container, "name"), value);
  if (filter.key == "id") return text_of(container, "container_id.value").starts_with(value);
  if (filter.key == "state" && value == "checkpointed") return is_checkpointed(container);
  if (filter.key == "state") return text_of(container, "state") == value;
  if (filter.key == "image")
    return fits(text_of(container, "image"), value.starts_with('^') ? value : cat("^", value));
  if (filter.key == "label") return has_label(container, value);
  if (filter.key == "health") return text_of(container, "health.status", "none") == value;
  return has_ended(container) && cat(integer_of(container, "exit.shell_status", 125)) == value;
}

class Ps final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('a', "all", &all_, "also those that have ended");
    flags.toggle('q', "quiet", &quiet_, "only ids");
    flags.add('f', "filter", "KEY=VALUE", &filters_,
              "only those with name=, id=, state=, exited=STATUS, image=, label=KEY[=VALUE] or "
              "health=; a "
              "part of the name is enough, * and ? stand for others, ^ and $ for its ends");
    flags.add('n', "last", "N", &last_, "only the N newest, ended or not");
    flags.toggle('l', "latest", &latest_, "only the newest, ended or not");
    flags.add(0, "format", "TEXT", &format_,
              "a line for each: {{.ID}} {{.Name}} {{.Image}} {{.Command}} {{.State}} {{.Status}} "
              "{{.Created}} {{.Address}} {{.Ports}} {{.Labels}} {{.Health}}, or json");
    flags.toggle(0, "no-trunc", &whole_, "do not shorten ids and commands");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    GANTRY_TRY(check_together(session.json()));
    GANTRY_TRY(check_format(format_, cells_of(Json(rapidjson::kObjectType))));
    size_t most = ~size_t{0};
    if (!last_.empty() && !parse_number(last_, most)) {
      return usage_error(cat("--last is a number of containers, not \"", last_, "\""));
    }
    if (latest_) most = 1;
    // A filter by how they ended, or the last ones: those that have ended are meant too.
    if (most != ~size_t{0}) all_ = true;
    std::vector<Filter> filters;
    for (const std::string& word : filters_) {
      filters.push_back(GANTRY_TRY(parse_filter(word)));
      const Filter& filter = filters.back();
      all_ = all_ || filter.key == "exited" ||
             (filter.key == "state" && (filter.value == "exited" || filter.value == "created"));
    }
    const JsonDocument answer = GANTRY_TRY(session.call(
        cat(R"({"type":"GANTRY_LIST","gantry_list":{"all":)", all_ ? "true" : "false", "}}")));
    std::vector<const Json*> shown;
    for (const Json* container : list_of(answer, "gantry_list.containers")) {
      const auto fits = [&](const Filter& filter) { return passes(*container, filter); };
      if ((all_ || !has_ended(*container)) && std::ranges::all_of(filters, fits)) {
        shown.push_back(container);
      }
    }
    // Newest first, as docker.
    std::ranges::stable_sort(shown, [](const Json* a, const Json* b) {
      return integer_of(*a, "created.nanoseconds") > integer_of(*b, "created.nanoseconds");
    });
    if (shown.size() > most) shown.resize(most);
    if (session.json() || format_ == "json") {
      print_json(shown);
    } else if (!format_.empty()) {
      for (const Json* container : shown) {
        write_out(GANTRY_TRY(fill_in(format_, cells_of(*container))) + "\n");
      }
    } else if (quiet_) {
      for (const Json* container : shown) write_out(id_of(*container) + "\n");
    } else {
      print_table(shown);
    }
    return 0;
  }

 private:
  Result<void> check_together(bool json) const {
    if (latest_ && !last_.empty()) {
      return usage_error("--latest is --last 1: give one of them");
    }
    const int forms = (quiet_ ? 1 : 0) + (json ? 1 : 0) + (format_.empty() ? 0 : 1);
    if (forms > 1) {
      return usage_error(
          "--quiet, --json and --format each say how it is printed: give one of them");
    }
    return {};
  }

  std::string id_of(const Json& container) const {
    const std::string id = text_of(container, "container_id.value");
    return whole_ ? id : short_id(id);
  }

  static void print_json(const std::vector<const Json*>& containers) {
    JsonDocument list(rapidjson::kArrayType);
    for (const Json* container : containers) {
      Json copy(*container, list.GetAllocator());
      add_id(copy, *container, list.GetAllocator());
      list.PushBack(copy, list.GetAllocator());
    }
    write_json(list);
  }

  void print_table(const std::vector<const Json*>& containers) const {
    Table table({"ID", "NAME", "IMAGE", "COMMAND", "STATE", "ADDRESS", "PORTS"},
                std::vector<std::string_view>{"IMAGE", "COMMAND"});
    const double now = now_seconds();
    for (const Json* container : containers) {
      const std::vector<const Json*> addresses = list_of(*container, "ip_addresses");
      table.add({id_of(*container), text_of(*container, "name"), text_of(*container, "image"),
                 describe_command(*container), describe_state(*container, now),
                 addresses.empty() ? "" : addresses[0]->GetString(), describe_ports(*container)});
    }
    table.write();
  }

  // docker's words, and ours.
  Cells cells_of(const Json& container) const {
    const std::vector<const Json*> addresses = list_of(container, "ip_addresses");
    const std::string name = text_of(container, "name");
    const double created = seconds_of(container, "created");
    return {{"ID", id_of(container)},
            {"Name", name},
            {"Names", name},
            {"Image", text_of(container, "image")},
            {"Command", describe_command(container)},
            {"State", text_of(container, "state")},
            {"Status", describe_state(container, now_seconds())},
            {"Created", created > 0 ? cat(format_age(now_seconds() - created), " ago") : ""},
            {"Address", addresses.empty() ? "" : addresses[0]->GetString()},
            {"Ports", describe_ports(container)},
            {"Labels", describe_labels(container)},
            {"Health", text_of(container, "health.status")}};
  }

  bool all_ = false, quiet_ = false, whole_ = false, latest_ = false;
  std::string last_, format_;
  std::vector<std::string> filters_;
};
}  // namespace

std::unique_ptr<Command> make_ps() { return make_command<Ps>(); }
}  // namespace gantry::cli
