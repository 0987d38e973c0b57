// TaskRegistry: frameworks and their tasks on disk, with the journal of status updates.
//
// DATA/registrations/tasks/HASH and …/frameworks/HASH, one record each. A status update is in its
// task's record, fsynced, before it is sent, and stays there until the framework has acknowledged
// it; a task whose terminal update is acknowledged is forgotten. Threads: loop; the fsyncs run on
// the offload pool, one at a time per task, and carry what has gathered meanwhile.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/types/task.h"
#include "base/co.h"
#include "base/result.h"

namespace gantry {
struct Task {
  explicit Task(const asio::any_io_executor& executor) : written(executor) {}
  std::string framework_id;
  std::string id;
  std::string container_id;
  std::string agent_id;
  std::string raw;  // TaskInfo bytes
  ResourceAmounts resources;
  std::chrono::nanoseconds kill_grace{0};
  TaskState state = TaskState::staging;  // of the newest update
  pid_t pid = 0;
  bool kill_asked = false;
  std::deque<TaskStatus> pending;    // the front is the one on its way
  std::vector<TaskStatus> statuses;  // all since this executor began; not recorded

  // Sending: only the front is out, again after `backoff` until it is acknowledged.
  size_t durable = 0;  // so many of `pending` are on disk
  Duration backoff{};
  std::chrono::steady_clock::time_point next_send{};
  bool writing = false;
  Event written;
};
using TaskPtr = std::shared_ptr<Task>;

class TaskRegistry {
 public:
  TaskRegistry(std::string data_dir, asio::any_io_executor executor);

  struct Recovered {
    std::vector<FrameworkSpec> frameworks;  // id and raw only
    std::vector<TaskPtr> tasks;             // id, framework, container, raw, state, pending
  };
  // Damaged records are moved aside and named in `damaged`.
  Result<Recovered> recover(std::vector<std::string>& damaged);

  Co<Result<void>> save_framework(FrameworkSpec framework);
  Co<Result<void>> remove_framework(std::string id);

  // Writes the task as it is now; returns when that (or something newer) is on disk.
  Co<Result<void>> save(TaskPtr task);
  Co<Result<void>> remove(TaskPtr task);

 private:
  std::string tasks_dir_, frameworks_dir_;
  asio::any_io_executor executor_;
};

// Appends an update to the task's journal: gives it uuid and time. Not durable before save().
void append_update(Task& task, TaskStatus status);
}  // namespace gantry
