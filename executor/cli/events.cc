// gantry events
#include <poll.h>

#include <algorithm>
#include <array>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"
#include "executor/cli/time_words.h"

namespace gantry::cli {
namespace {
// So often in a row an executor may go away before it has answered.
constexpr int kMostFruitless = 10;

constexpr std::string_view kTypes[] = {"container", "image", "executor"};
constexpr std::string_view kActions[] = {
    "create", "start",  "die",    "kill",       "stop",        "pause",      "unpause",
    "oom",    "rename", "update", "checkpoint", "restore",     "destroy",    "health_status",
    "import", "commit", "tag",    "remove",     "exec_create", "exec_start", "exec_die"};

struct Filters {
  std::vector<std::string> types, actions, containers, images;
};

Result<void> check_word(std::string_view word, std::string_view value,
                        std::span<const std::string_view> known, std::string_view what) {
  if (std::ranges::find(known, value) != known.end()) return {};
  const std::string_view meant = nearest(value, {known.begin(), known.end()});
  std::string legal;
  for (const std::string_view one : known) legal += cat(legal.empty() ? "" : ", ", one);
  return usage_error(cat("--filter ", word, ": the ", what, " is one of ", legal,
                         meant.empty() ? "" : cat("; did you mean ", meant, "?")));
}

Result<Filters> parse_filters(const std::vector<std::string>& words) {
  Filters out;
  for (const std::string& word : words) {
    const auto pair = cut(word, '=');
    if (!pair || pair->value.empty()) {
      return usage_error(cat("--filter ", word, ": write KEY=VALUE"));
    }
    const std::string value(pair->value);
    if (pair->key == "type") {
      GANTRY_TRY(check_word(word, value, kTypes, "type"));
      out.types.push_back(value);
    } else if (pair->key == "event") {
      GANTRY_TRY(check_word(word, value, kActions, "event"));
      out.actions.push_back(value);
    } else if (pair->key == "container") {
      out.containers.push_back(value);
    } else if (pair->key == "image") {
      out.images.push_back(value);
    } else {
      return usage_error(cat("--filter ", word, ": the key is type, event, container or image"));
    }
  }
  return out;
}

std::string describe_attributes(const Json& event) {
  std::string out;
  const Json* attributes = find(event, "attributes");
  if (attributes == nullptr || !attributes->IsObject()) return out;
  std::vector<std::string> words;
  for (const auto& member : attributes->GetObject()) {
    words.push_back(cat(member.name.GetString(), "=", member.value.GetString()));
  }
  std::ranges::sort(words);
  for (const std::string& word : words) out += cat(out.empty() ? "" : ", ", word);
  return out;
}

class Events final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "since", "TIME", &since_,
              "first what happened since: 10m (ago), a date such as 2026-11-28T10:00:00Z, or "
              "seconds of the epoch");
    flags.add(0, "until", "TIME", &until_, "end there, instead of going on; written the same way");
    flags.add('f', "filter", "KEY=VALUE", &filters_,
              "only those with type=, event=, container= (id, its beginning, or name) or image=; "
              "of the same key any, of different ones all");
    flags.add(0, "format", "TEXT", &format_,
              "a line for each: {{.Time}} {{.Type}} {{.Action}} {{.ID}} {{.Name}} "
              "{{.Attributes}}, or json");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    if (format_ != "json") GANTRY_TRY(check_format(format_, cells_of(JsonDocument())));
    if (session.json() && !format_.empty()) {
      return usage_error("--json and --format each say how it is printed: give one of them");
    }
    is_json_ = session.json() || format_ == "json";
    chosen_ = GANTRY_TRY(parse_filters(filters_));
    if (!since_.empty()) since_ns_ = GANTRY_TRY(parse_time("--since", since_));
    if (!until_.empty()) until_ns_ = GANTRY_TRY(parse_time("--until", until_));
    if (since_ns_ && until_ns_ && *since_ns_ >= *until_ns_) {
      return usage_error(cat("--since ", since_, " is not before --until ", until_,
                             ": nothing lies between them"));
    }
    for (int fruitless = 0;; ++fruitless) {
      is_heard_ = false;
      Result<int> followed = follow(session);
      if (followed || !followed.error().is(Errc::cancelled)) return followed;
      // The next executor tells what happened since it began.
      if (is_heard_) fruitless = 0;
      if (fruitless == kMostFruitless) {
        return Error(Errc::refused, "the executor goes away before it answers; ask again");
      }
      ::poll(nullptr, 0, 100);
    }
  }

 private:
  // Errc::cancelled: the executor went away.
  Result<int> follow(Session& session) {
    Connection connection = GANTRY_TRY(session.connect());
    GANTRY_TRY(connection.send(Connection::format({"/api/v1",
                                                   {{"Content-Type", "application/json"},
                                                    {"Accept", "application/recordio"},
                                                    {"Message-Accept", "application/json"}},
                                                   request()})));
    const HttpHead head = GANTRY_TRY(connection.receive_head());
    if (head.status != 200) return refusal(GANTRY_TRY(connection.receive()));
    is_heard_ = true;
    // From here on nothing is missed, whoever dies.
    if (!since_ns_) since_ns_ = static_cast<int64_t>(now_seconds() * 1e9);
    RecordReader records;
    for (;;) {
      records.add(connection.take_body());
      while (const std::optional<std::string> record = GANTRY_TRY(records.next())) {
        const std::optional<int> status = GANTRY_TRY(handle(*record));
        if (status) return *status;
      }
      if (connection.is_complete()) return 0;
      if (!GANTRY_TRY(feed_while_read(connection))) {
        return Error(Errc::cancelled, "the executor went away");
      }
    }
  }

  std::string request() const {
    JsonWriter json;
    json.open().text("type", "GANTRY_EVENTS").open("gantry_events");
    if (since_ns_) json.open("since").integer("nanoseconds", *since_ns_).close();
    if (until_ns_) json.open("until").integer("nanoseconds", *until_ns_).close();
    write_strings(json, "types", chosen_.types);
    write_strings(json, "actions", chosen_.actions);
    write_strings(json, "containers", chosen_.containers);
    write_strings(json, "images", chosen_.images);
    return json.close().close().take();
  }

  // An exit status ends it.
  Result<std::optional<int>> handle(const std::string& text) {
    const JsonDocument event = GANTRY_TRY(parse_json(text, "an event"));
    const std::string kind = text_of(event, "kind");
    if (kind == "EVENT") {
      since_ns_ = integer_of(event, "time.nanoseconds") + 1;
      GANTRY_TRY(print(event));
    } else if (kind == "CUT_OFF") {
      write_error(text_of(event, "message"));
      return std::optional(1);
    } else if (kind == "ENDED") {
      write_error(text_of(event, "message"));
      return std::optional(0);
    }
    return std::optional<int>();
  }

  Result<void> print(const JsonDocument& event) const {
    const std::string time = timestamp(integer_of(event, "time.nanoseconds"));
    if (is_json_) {
      write_out(json_line(event, time));
      return {};
    }
    if (!format_.empty()) {
      write_out(GANTRY_TRY(fill_in(format_, cells_of(event))) + "\n");
      return {};
    }
    const std::string type = text_of(event, "type"), action = text_of(event, "action");
    const std::string id = text_of(event, "id"), name = text_of(event, "name");
    const std::string attributes = describe_attributes(event);
    const std::string all = cat(name.empty() ? "" : cat("name=", name),
                                name.empty() || attributes.empty() ? "" : ", ", attributes);
    write_out(cat(time, " ", type, " ", action, id.empty() ? "" : " ", id,
                  all.empty() ? "" : cat(" (", all, ")"), "\n"));
    return {};
  }

  static Cells cells_of(const JsonDocument& event) {
    return {{"Time", timestamp(integer_of(event, "time.nanoseconds"))},
            {"Type", text_of(event, "type")},
            {"Action", text_of(event, "action")},
            {"ID", text_of(event, "id")},
            {"Name", text_of(event, "name")},
            {"Attributes", describe_attributes(event)}};
  }

  static std::string json_line(const JsonDocument& event, const std::string& time) {
    JsonWriter json;
    json.open().text("time", time).integer("time_ns", integer_of(event, "time.nanoseconds"));
    for (const std::string_view key : {"type", "action", "id", "name"}) {
      const std::string value = text_of(event, key);
      if (!value.empty()) json.text(key, value);
    }
    json.open("attributes");
    const Json* attributes = find(event, "attributes");
    if (attributes != nullptr && attributes->IsObject()) {
      for (const auto& member : attributes->GetObject()) {
        json.text(member.name.GetString(), member.value.GetString());
      }
    }
    return json.close().close().line();
  }

  std::string since_, until_, format_;
  std::vector<std::string> filters_;
  Filters chosen_;
  std::optional<int64_t> since_ns_, until_ns_;
  bool is_json_ = false;
  bool is_heard_ = false;  // the executor of now has answered
};
}  // namespace

std::unique_ptr<Command> make_events() { return make_command<Events>(); }
}  // namespace gantry::cli
