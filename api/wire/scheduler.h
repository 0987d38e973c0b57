// The scheduler API's messages as value types, both ways. Thread-safe: no state.
#pragma once

#include <string>
#include <string_view>

#include "api/types/scheduler.h"
#include "base/result.h"

namespace gantry::wire {
enum class Encoding { json, protobuf };

// One call. Errors are the 400's text and name the field. A TaskInfo that cannot be a task of ours
// is no error: its TaskSpec says what is wrong with it, and the framework gets a TASK_ERROR.
Result<SchedulerCall> parse_scheduler_call(std::string_view body, Encoding encoding);
// One event, without RecordIO framing.
std::string encode_event(const SchedulerEvent& event, Encoding encoding);

// From bytes kept earlier (FrameworkSpec::raw, TaskSpec::raw).
Result<FrameworkSpec> parse_framework_info(const std::string& raw);
Result<TaskSpec> parse_task_info(const std::string& raw);
}  // namespace gantry::wire
