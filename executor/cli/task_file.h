// A task as `gantry submit` sends it: the user's TaskInfo with what is missing filled in.
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "executor/cli/json.h"

namespace gantry::cli {
// Checks that `text` is a TaskInfo with a command or an executor; fills in name, task_id
// (unique by `unique`) and resources where they are missing.
Result<JsonDocument> parse_task(std::string_view text, const std::string& unique);
// Sums of the scalar resources by name, of a task or an offer.
std::map<std::string, double> scalar_resources(const Json& holder);
// Empty when the offer holds all the task needs; else what is short, "mem 4096 of 1024".
std::string shortage(const Json& task, const Json& offer);
}  // namespace gantry::cli
