// What a task may do, as /proc/PID/status shows it: read at the dump, compared before a restored
// task may run. Images are untrusted; they never grant more than it had, nor than its container's
// request allows.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_spec.h"
#include "base/result.h"

namespace gantry {
struct TaskState {
  pid_t pid = 0;     // in the task's own pid namespace
  pid_t parent = 0;  // as we see it
  std::string uids, gids, groups;
  uint64_t effective = 0, permitted = 0, inheritable = 0, bounding = 0, ambient = 0;
  bool no_new_privileges = false;
  int seccomp = 0;         // 0 none, 1 strict, 2 filter
  bool is_zombie = false;  // ended, its parent has not looked yet: it will not run
  bool operator==(const TaskState&) const = default;
};

// Errc::corrupt names the field that is missing.
Result<TaskState> parse_task_status(std::string_view status);
Result<TaskState> read_task_state(pid_t pid);

// Why a restored task may not run: it has something the dumped one had not, or that a task of this
// request and user can never come to have (the record may be forged like the images). Success: it
// may.
Result<void> check_task(const TaskState& restored, const std::vector<TaskState>& dumped,
                        const SecuritySpec& allowed, const Credentials& user);
}  // namespace gantry
