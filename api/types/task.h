// Tasks and their status as frameworks see them. Numbers and names are Mesos' (mesos v1 API).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/types/container_spec.h"

namespace gantry {
enum class TaskState : int {
  starting = 0,
  running = 1,
  finished = 2,
  failed = 3,
  killed = 4,
  lost = 5,
  staging = 6,
  error = 7,
  killing = 8,
  dropped = 9,
  unreachable = 10,
  gone = 11,
  gone_by_operator = 12,
  unknown = 13,
};
inline bool is_terminal(TaskState state) {
  switch (state) {
    case TaskState::finished:
    case TaskState::failed:
    case TaskState::killed:
    case TaskState::lost:
    case TaskState::error:
    case TaskState::dropped:
    case TaskState::gone:
    case TaskState::gone_by_operator:
      return true;
    default:
      return false;
  }
}

enum class StatusSource : int { master = 0, agent = 1, executor = 2 };
// Mesos' TaskStatus.Reason numbers that we give.
enum class StatusReason : int {
  container_limitation_memory = 8,
  container_launch_failed = 21,
  container_limitation = 19,
  task_killed_during_launch = 30,
  agent_restarted = 12,
  invalid_offers = 6,
  task_invalid = 14,
  reconciliation = 9,
  executor_terminated = 1,
};

struct TaskStatus {
  std::string task_id;
  TaskState state = TaskState::staging;
  std::string message;
  StatusSource source = StatusSource::executor;
  std::optional<StatusReason> reason;
  std::string uuid;      // 16 raw bytes, RFC 4122 version 4; empty: not to be acknowledged
  double timestamp = 0;  // seconds since the epoch
  std::string agent_id, executor_id, container_id;
  pid_t executor_pid = 0;
};

// What a task uses or a host offers.
struct ResourceAmounts {
  double cpus = 0;
  double mem_mib = 0;
  double disk_mib = 0;
  std::vector<std::pair<uint64_t, uint64_t>> ports;  // inclusive ranges
};

struct FrameworkSpec {
  std::string id;  // empty: a new framework
  std::string name, user;
  double failover_timeout = 0;  // seconds
  bool partition_aware = false;
  bool task_killing_state = false;
  std::vector<std::string> roles;
  std::string raw;  // the FrameworkInfo as it came, serialized; opaque
};

struct TaskSpec {
  std::string id, name, agent_id;
  ResourceAmounts resources;
  std::optional<std::string> problem;  // why it cannot be a task of ours: TASK_ERROR, this message
  std::string container_id;            // made for it
  ContainerSpec container;             // meaningless with a problem
  std::chrono::nanoseconds kill_grace{std::chrono::seconds(3)};
  std::string raw;  // the TaskInfo as it came, serialized; opaque
};

// 16 random bytes with the version and variant bits of RFC 4122.
std::string make_uuid();
// "4a4830d5-64fc-4131-aaa0-dcd47e29636f" of 16 bytes.
std::string format_uuid(std::string_view bytes);
}  // namespace gantry
