// Calls and events of the scheduler API as value types (mesos v1 scheduler API).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "api/types/task.h"

namespace gantry {
struct SubscribeCall {
  FrameworkSpec framework;
};
struct TeardownCall {};
struct AcceptCall {
  std::vector<std::string> offer_ids;
  std::vector<TaskSpec> launches;  // of all LAUNCH operations, in order
  double refuse_seconds = 5;
};
struct DeclineCall {
  std::vector<std::string> offer_ids;
  double refuse_seconds = 5;
};
struct ReviveCall {};
struct SuppressCall {};
struct KillCall {
  std::string task_id, agent_id;
  std::optional<std::chrono::nanoseconds> grace;
};
struct AcknowledgeCall {
  std::string agent_id, task_id, uuid;  // uuid: 16 raw bytes
};
struct ReconcileCall {
  std::vector<std::pair<std::string, std::string>> tasks;  // task id, agent id; none: implicit
};
// A call of Mesos' that is accepted and changes nothing here (REQUEST, inverse offers …).
struct IgnoredCall {
  std::string name;
};
struct SchedulerCall {
  std::string framework_id;
  std::variant<SubscribeCall, TeardownCall, AcceptCall, DeclineCall, ReviveCall, SuppressCall,
               KillCall, AcknowledgeCall, ReconcileCall, IgnoredCall>
      call;
};

struct OfferEvent {
  std::string id, framework_id, agent_id, hostname;
  ResourceAmounts resources;
};
struct SubscribedEvent {
  std::string framework_id;
  double heartbeat_seconds = 15;
  std::string master_id, hostname, version;
};
struct OffersEvent {
  std::vector<OfferEvent> offers;
};
struct RescindEvent {
  std::string offer_id;
};
struct UpdateEvent {
  TaskStatus status;
};
struct ErrorEvent {
  std::string message;
};
struct HeartbeatEvent {};
using SchedulerEvent = std::variant<SubscribedEvent, OffersEvent, RescindEvent, UpdateEvent,
                                    ErrorEvent, HeartbeatEvent>;
}  // namespace gantry
