#include "executor/cli/task_file.h"

#include "executor/cli/command.h"

namespace gantry::cli {
namespace {
void add_text(JsonDocument& task, const char* name, const std::string& value) {
  auto& memory = task.GetAllocator();
  task.AddMember(Json(name, memory), Json(value.c_str(), memory), memory);
}

void add_scalar(JsonDocument& task, Json& list, const char* name, double amount) {
  auto& memory = task.GetAllocator();
  Json scalar(rapidjson::kObjectType);
  scalar.AddMember("value", amount, memory);
  Json resource(rapidjson::kObjectType);
  resource.AddMember("name", Json(name, memory), memory);
  resource.AddMember("type", "SCALAR", memory);
  resource.AddMember("scalar", scalar, memory);
  list.PushBack(resource, memory);
}
}  // namespace

Result<JsonDocument> parse_task(std::string_view text, const std::string& unique) {
  JsonDocument task = GANTRY_TRY(parse_json(text, "the task"));
  if (!task.IsObject()) {
    return Error(Errc::refused,
                 "the task is not a JSON object: write a Mesos TaskInfo, e.g. "
                 "{\"command\":{\"value\":\"echo hello\"}}");
  }
  const bool has_command = task.HasMember("command");
  if (has_command == task.HasMember("executor")) {
    return Error(Errc::refused,
                 "the task needs exactly one of command and executor, e.g. "
                 "{\"command\":{\"value\":\"echo hello\"}}");
  }
  auto& memory = task.GetAllocator();
  if (!task.HasMember("task_id")) {
    Json id(rapidjson::kObjectType);
    id.AddMember("value", Json(cat("submit-", unique).c_str(), memory), memory);
    task.AddMember("task_id", id, memory);
  }
  if (text_of(task, "task_id.value").empty()) {
    return Error(Errc::refused,
                 "task_id has no value: write {\"value\":\"NAME\"}, or leave it out");
  }
  if (!task.HasMember("name")) add_text(task, "name", text_of(task, "task_id.value"));
  if (!task.HasMember("resources")) {
    Json list(rapidjson::kArrayType);
    add_scalar(task, list, "cpus", 0.1);
    add_scalar(task, list, "mem", 64);
    task.AddMember("resources", list, memory);
  }
  return task;
}

std::map<std::string, double> scalar_resources(const Json& holder) {
  std::map<std::string, double> out;
  for (const Json* resource : list_of(holder, "resources")) {
    if (find(*resource, "scalar") == nullptr) continue;
    out[text_of(*resource, "name")] += number_of(*resource, "scalar.value");
  }
  return out;
}

std::string shortage(const Json& task, const Json& offer) {
  const std::map<std::string, double> offered = scalar_resources(offer);
  std::string out;
  for (const auto& [name, amount] : scalar_resources(task)) {
    const auto it = offered.find(name);
    const double there = it == offered.end() ? 0 : it->second;
    if (there + 1e-6 < amount) {
      out += cat(out.empty() ? "" : ", ", name, " ", amount, " of ", there);
    }
  }
  return out;
}
}  // namespace gantry::cli
