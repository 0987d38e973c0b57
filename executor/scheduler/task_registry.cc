#include "executor/scheduler/task_registry.h"

#include <fcntl.h>
#include <unistd.h>

#include "api/records/task_record.pb.h"
#include "api/types/container_id.h"
#include "base/directory.h"
#include "base/path_at.h"
#include "base/record_file.h"
#include "base/sys.h"

namespace gantry {
namespace {
std::string record_name(const std::string& framework, const std::string& task) {
  // The NUL keeps ("a", "bc") and ("ab", "c") apart.
  return sha256_hex(framework + std::string(1, '\0') + task, 32);
}

std::string serialize(const Task& task) {
  records::Task out;
  out.set_framework_id(task.framework_id);
  out.set_task_id(task.id);
  out.set_container_id(task.container_id);
  out.set_task_info(task.raw);
  out.set_state(static_cast<int>(task.state));
  for (const TaskStatus& status : task.pending) {
    records::StatusUpdate& update = *out.add_pending();
    update.set_uuid(status.uuid);
    update.set_state(static_cast<int>(status.state));
    update.set_source(static_cast<int>(status.source));
    if (status.reason) update.set_reason(static_cast<int>(*status.reason));
    update.set_message(status.message);
    update.set_timestamp(status.timestamp);
    update.set_executor_pid(status.executor_pid);
  }
  return out.SerializeAsString();
}

Result<TaskPtr> parse_task(std::string_view bytes, const asio::any_io_executor& executor) {
  records::Task in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || in.task_id().empty()) {
    return Error(Errc::corrupt, "task record does not parse");
  }
  auto task = std::make_shared<Task>(executor);
  task->framework_id = in.framework_id();
  task->id = in.task_id();
  task->container_id = in.container_id();
  task->raw = in.task_info();
  task->state = static_cast<TaskState>(in.state());
  for (const records::StatusUpdate& update : in.pending()) {
    TaskStatus status;
    status.task_id = task->id;
    status.state = static_cast<TaskState>(update.state());
    status.message = update.message();
    status.source = static_cast<StatusSource>(update.source());
    if (update.has_reason()) status.reason = static_cast<StatusReason>(update.reason());
    status.uuid = update.uuid();
    status.timestamp = update.timestamp();
    status.container_id = task->container_id;
    status.executor_pid = update.executor_pid();
    task->pending.push_back(std::move(status));
  }
  task->durable = task->pending.size();
  return task;
}

// Every record of a directory, payload by payload; damaged ones are set aside.
template <class Use>
Result<void> for_each_record(const std::string& path, std::vector<std::string>& damaged, Use use) {
  DirFd base = GANTRY_TRY(DirFd::open(path));
  GANTRY_TRY(remove_temporaries(base.get()));
  for (const std::string& name : GANTRY_TRY(names_in(AT_FDCWD, path.c_str()))) {
    if (name.starts_with('.') || name.find(".damaged-") != std::string::npos) continue;
    Result<std::string> payload = read_record(base.get(), name.c_str());
    Result<void> used = payload ? use(*payload) : Result<void>(payload.error());
    if (used) continue;
    if (!is_damage(used.error())) return used;
    damaged.push_back(cat(path, "/", name, ": ", used.error().to_string()));
    GANTRY_TRY(quarantine_record(base.get(), name));
  }
  return {};
}

Result<void> write_durably(const std::string& directory, const std::string& name,
                           const std::string& payload) {
  DirFd dir = GANTRY_TRY(DirFd::open(directory));
  return write_record(dir.get(), name, payload, Durability::disk);
}

Result<void> remove_durably(const std::string& directory, const std::string& name) {
  DirFd dir = GANTRY_TRY(DirFd::open(directory));
  if (::unlinkat(dir.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, cat("remove ", directory, "/", name));
  }
  return {};
}
}  // namespace

void append_update(Task& task, TaskStatus status) {
  status.task_id = task.id;
  status.uuid = make_uuid();
  status.timestamp = static_cast<double>(sys::realtime_ns()) / 1e9;
  status.container_id = task.container_id;
  if (status.executor_pid == 0) status.executor_pid = task.pid;
  task.state = status.state;
  task.statuses.push_back(status);
  task.pending.push_back(std::move(status));
}

TaskRegistry::TaskRegistry(std::string data_dir, asio::any_io_executor executor)
    : tasks_dir_(data_dir + "/registrations/tasks"),
      frameworks_dir_(data_dir + "/registrations/frameworks"),
      executor_(std::move(executor)) {}

Result<TaskRegistry::Recovered> TaskRegistry::recover(std::vector<std::string>& damaged) {
  GANTRY_TRY(sys::ensure_directories(tasks_dir_, 0700));
  GANTRY_TRY(sys::ensure_directories(frameworks_dir_, 0700));
  Recovered out;
  GANTRY_TRY(for_each_record(frameworks_dir_, damaged, [&](const std::string& payload) {
    records::Framework in;
    if (!in.ParseFromString(payload) || in.id().empty()) {
      return Result<void>(Error(Errc::corrupt, "framework record does not parse"));
    }
    FrameworkSpec framework;
    framework.id = in.id();
    framework.raw = in.framework_info();
    out.frameworks.push_back(std::move(framework));
    return Result<void>();
  }));
  GANTRY_TRY(for_each_record(tasks_dir_, damaged, [&](const std::string& payload) -> Result<void> {
    out.tasks.push_back(GANTRY_TRY(parse_task(payload, executor_)));
    return {};
  }));
  return out;
}

Co<Result<void>> TaskRegistry::save_framework(FrameworkSpec framework) {
  records::Framework out;
  out.set_id(framework.id);
  out.set_framework_info(framework.raw);
  co_return co_await offload(
      [directory = frameworks_dir_, name = record_name(framework.id, ""),
       payload = out.SerializeAsString()] { return write_durably(directory, name, payload); });
}

Co<Result<void>> TaskRegistry::remove_framework(std::string id) {
  co_return remove_durably(frameworks_dir_, record_name(id, ""));
}

Co<Result<void>> TaskRegistry::save(TaskPtr task) {
  size_t wanted = task->pending.size();
  std::string newest = wanted == 0 ? std::string() : task->pending.back().uuid;
  // One write at a time: a later one must not be overtaken by an earlier one on another thread.
  while (task->writing) co_await task->written.wait();
  bool done = wanted > 0 && task->durable > 0;
  if (done) {
    done = false;
    for (size_t i = 0; i < std::min(task->durable, task->pending.size()); ++i) {
      if (task->pending[i].uuid == newest) done = true;
    }
  }
  if (done) co_return Result<void>();  // the writer before us took ours along
  task->writing = true;
  size_t count = task->pending.size();
  std::string last = count == 0 ? std::string() : task->pending.back().uuid;
  Result<void> written = co_await offload(
      [directory = tasks_dir_, name = record_name(task->framework_id, task->id),
       payload = serialize(*task)] { return write_durably(directory, name, payload); });
  task->writing = false;
  if (written) {
    // Acknowledgements may have taken some from the front meanwhile.
    task->durable = 0;
    for (size_t i = 0; i < task->pending.size(); ++i) {
      if (task->pending[i].uuid == last) task->durable = i + 1;
    }
  }
  task->written.notify();
  co_return written;
}

Co<Result<void>> TaskRegistry::remove(TaskPtr task) {
  while (task->writing) co_await task->written.wait();
  co_return remove_durably(tasks_dir_, record_name(task->framework_id, task->id));
}
}  // namespace gantry
