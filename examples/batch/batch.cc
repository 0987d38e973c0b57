// A framework in one file: runs N copies of a command as tasks through the scheduler API, several
// at a time, with a progress bar. Shows the whole conversation: SUBSCRIBE, OFFERS, ACCEPT, UPDATE,
// ACKNOWLEDGE, TEARDOWN.
//
//   gantry-batch [--socket PATH] [--tasks N] [--cpus C] [--mem MIB] [--] COMMAND
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "executor/cli/http_client.h"

namespace {
using gantry::Errc;
using gantry::Error;
using gantry::Result;
using gantry::cli::Connection;
using gantry::cli::HttpRequest;
using Json = rapidjson::Writer<rapidjson::StringBuffer>;

constexpr const char* kUsage =
    "Usage: gantry-batch [--socket PATH] [--tasks N] [--cpus C] [--mem MIB] [--] COMMAND";

struct Options {
  std::string socket = "/run/gantry/gantry.sock";
  int tasks = 10;
  double cpus = 0.1;
  double mem = 32;
  std::string command = "true";
};

// A JSON object {"value": text} under a key: every id of Mesos'.
void id(Json& json, const char* key, const std::string& text) {
  json.Key(key);
  json.StartObject();
  json.Key("value");
  json.String(text.c_str());
  json.EndObject();
}
void scalar(Json& json, const char* name, double value) {
  json.StartObject();
  json.Key("name");
  json.String(name);
  json.Key("type");
  json.String("SCALAR");
  json.Key("scalar");
  json.StartObject();
  json.Key("value");
  json.Double(value);
  json.EndObject();
  json.EndObject();
}
double amount(const rapidjson::Value& resources, const char* name) {
  double sum = 0;
  for (auto& resource : resources.GetArray()) {
    if (std::string(resource["name"].GetString()) == name && resource.HasMember("scalar")) {
      sum += resource["scalar"]["value"].GetDouble();
    }
  }
  return sum;
}

class Batch {
 public:
  Batch(Options options, Connection events, Connection calls)
      : options_(std::move(options)), events_(std::move(events)), calls_(std::move(calls)) {}

  Result<int> run() {
    GANTRY_TRY(events_.send(Connection::format(
        {.target = "/api/v1/scheduler",
         .headers = {{"Content-Type", "application/json"}, {"Accept", "application/json"}},
         .body = R"({"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":)"
                 R"("batch","roles":["*"],"capabilities":[{"type":"MULTI_ROLE"},)"
                 R"({"type":"PARTITION_AWARE"}]}}})"})));
    gantry::cli::HttpHead head = GANTRY_TRY(events_.receive_head());
    if (head.status != 200) {
      return Error(Errc::unsupported, gantry::cat("SUBSCRIBE was answered ", head.status));
    }
    stream_id_ = head.header("Mesos-Stream-Id");
    GANTRY_TRY(handle_events());  // those that came with the head
    while (finished_ + failed_ < options_.tasks) {
      if (!GANTRY_TRY(events_.feed())) return Error(Errc::cancelled, "the event stream ended");
      GANTRY_TRY(handle_events());
    }
    GANTRY_TRY(call("TEARDOWN", [](Json&) {}));
    std::fprintf(stderr, "\n%d finished, %d failed\n", finished_, failed_);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  // RecordIO: a decimal length, a newline, that many bytes; records may share or span chunks.
  Result<void> handle_events() {
    pending_ += events_.take_body();
    for (;;) {
      size_t newline = pending_.find('\n');
      if (newline == std::string::npos) return {};
      size_t length = std::strtoul(pending_.c_str(), nullptr, 10);
      if (pending_.size() - newline - 1 < length) return {};
      std::string event = pending_.substr(newline + 1, length);
      pending_.erase(0, newline + 1 + length);
      GANTRY_TRY(handle(event));
    }
  }

  Result<void> handle(const std::string& text) {
    rapidjson::Document event;
    event.Parse(text.c_str());
    if (event.HasParseError()) return Error(Errc::corrupt, "an event is not JSON");
    std::string type = event["type"].GetString();
    if (type == "SUBSCRIBED")
      framework_id_ = event["subscribed"]["framework_id"]["value"].GetString();
    if (type == "ERROR") return Error(Errc::cancelled, event["error"]["message"].GetString());
    if (type == "OFFERS") {
      for (auto& offer : event["offers"]["offers"].GetArray()) GANTRY_TRY(accept(offer));
    }
    if (type == "UPDATE") return update(event["update"]["status"]);
    return {};
  }

  // As many tasks as fit; an offer without room, or after the last task, is declined.
  Result<void> accept(const rapidjson::Value& offer) {
    double cpus = amount(offer["resources"], "cpus"), mem = amount(offer["resources"], "mem");
    std::string agent = offer["agent_id"]["value"].GetString();
    int first = launched_;
    while (launched_ < options_.tasks && cpus >= options_.cpus && mem >= options_.mem) {
      ++launched_;
      cpus -= options_.cpus;
      mem -= options_.mem;
    }
    bool wanted = launched_ > first;
    return call(wanted ? "ACCEPT" : "DECLINE", [&](Json& json) {
      json.Key(wanted ? "accept" : "decline");
      json.StartObject();
      json.Key("offer_ids");
      json.StartArray();
      json.StartObject();
      json.Key("value");
      json.String(offer["id"]["value"].GetString());
      json.EndObject();
      json.EndArray();
      if (wanted) write_tasks(json, agent, first);
      json.Key("filters");
      json.StartObject();
      json.Key("refuse_seconds");
      json.Double(launched_ < options_.tasks ? 0.2 : 3600);
      json.EndObject();
      json.EndObject();
    });
  }

  void write_tasks(Json& json, const std::string& agent, int first) {
    json.Key("operations");
    json.StartArray();
    json.StartObject();
    json.Key("type");
    json.String("LAUNCH");
    json.Key("launch");
    json.StartObject();
    json.Key("task_infos");
    json.StartArray();
    for (int i = first; i < launched_; ++i) {
      std::string name = gantry::cat("batch-", i);
      json.StartObject();
      json.Key("name");
      json.String(name.c_str());
      id(json, "task_id", name);
      id(json, "agent_id", agent);
      json.Key("resources");
      json.StartArray();
      scalar(json, "cpus", options_.cpus);
      scalar(json, "mem", options_.mem);
      json.EndArray();
      json.Key("command");
      json.StartObject();
      json.Key("value");
      json.String(options_.command.c_str());
      json.EndObject();
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
    json.EndObject();
    json.EndArray();
  }

  Result<void> update(const rapidjson::Value& status) {
    std::string state = status["state"].GetString();
    std::string task = status["task_id"]["value"].GetString();
    // Updates come at least once: a state is counted when it is new.
    std::string& known = states_[task];
    bool is_new = known != state;
    known = state;
    if (is_new && state == "TASK_FINISHED") ++finished_;
    if (is_new && (state == "TASK_FAILED" || state == "TASK_ERROR" || state == "TASK_LOST" ||
                   state == "TASK_KILLED" || state == "TASK_DROPPED" || state == "TASK_GONE")) {
      ++failed_;
      const char* why = status.HasMember("message") ? status["message"].GetString() : "";
      std::fprintf(stderr, "\n%s: %s %s\n", task.c_str(), state.c_str(), why);
    }
    show_progress();
    if (!status.HasMember("uuid")) return {};  // not of a task's stream: nothing to acknowledge
    return call("ACKNOWLEDGE", [&](Json& json) {
      json.Key("acknowledge");
      json.StartObject();
      id(json, "agent_id", status["agent_id"]["value"].GetString());
      id(json, "task_id", task);
      json.Key("uuid");
      json.String(status["uuid"].GetString());
      json.EndObject();
    });
  }

  void show_progress() const {
    if (::isatty(2) == 0) return;
    constexpr int kWidth = 40;
    int done = finished_ + failed_, filled = done * kWidth / options_.tasks;
    std::fprintf(stderr, "\r[%s%s] %d/%d", std::string(static_cast<size_t>(filled), '#').c_str(),
                 std::string(static_cast<size_t>(kWidth - filled), '.').c_str(), done,
                 options_.tasks);
  }

  // One call on the second connection; 202 is the only good answer.
  template <class Body>
  Result<void> call(const char* type, Body body) {
    rapidjson::StringBuffer text;
    Json json(text);
    json.StartObject();
    id(json, "framework_id", framework_id_);
    json.Key("type");
    json.String(type);
    body(json);
    json.EndObject();
    GANTRY_TRY(calls_.send(Connection::format(
        {.target = "/api/v1/scheduler",
         .headers = {{"Content-Type", "application/json"}, {"Mesos-Stream-Id", stream_id_}},
         .body = text.GetString()})));
    gantry::cli::HttpResponse answer = GANTRY_TRY(calls_.receive());
    if (answer.head.status == 202) return {};
    return Error(Errc::invalid,
                 gantry::cat(type, " was answered ", answer.head.status, ": ", answer.body));
  }

  Options options_;
  Connection events_, calls_;
  std::string stream_id_, framework_id_, pending_;
  std::map<std::string, std::string> states_;
  int launched_ = 0, finished_ = 0, failed_ = 0;
};

Result<Options> read_options(int argc, char** argv) {
  Options options;
  if (const char* socket = std::getenv("GANTRY_SOCKET")) options.socket = socket;
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; ++i) {
    std::string flag = argv[i];
    if (flag == "--") {
      ++i;
      break;
    }
    if (i + 1 == argc) return Error(Errc::invalid, gantry::cat(flag, " needs a value. ", kUsage));
    const char* value = argv[++i];
    if (flag == "--socket") {
      options.socket = value;
    } else if (flag == "--tasks" && gantry::parse_number(value, options.tasks) &&
               options.tasks > 0) {
    } else if (flag == "--cpus" && std::atof(value) > 0) {
      options.cpus = std::atof(value);
    } else if (flag == "--mem" && std::atof(value) > 0) {
      options.mem = std::atof(value);
    } else {
      return Error(Errc::invalid, gantry::cat(flag, " ", value, ": is wrong. ", kUsage));
    }
  }
  std::string command;
  for (; i < argc; ++i) command += gantry::cat(command.empty() ? "" : " ", argv[i]);
  if (!command.empty()) options.command = command;
  return options;
}

Result<int> run(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::puts(kUsage);
    return 0;
  }
  Options options = GANTRY_TRY(read_options(argc, argv));
  Result<Connection> events = Connection::connect(options.socket);
  if (!events) {
    return std::move(events).error().context(
        "no executor: start one with `gantry executor &`, or name its socket with --socket PATH");
  }
  Connection calls = GANTRY_TRY(Connection::connect(options.socket));
  return Batch(std::move(options), std::move(*events), std::move(calls)).run();
}
}  // namespace

int main(int argc, char** argv) {
  Result<int> code = run(argc, argv);
  if (code) return *code;
  std::fprintf(stderr, "gantry-batch: %s\n", code.error().to_string().c_str());
  return 1;
}
