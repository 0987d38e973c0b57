#include "api/wire/scheduler.h"

#include <arpa/inet.h>

#include "api/proto/agent.pb.h"
#include "api/proto/scheduler.pb.h"
#include "api/types/container_id.h"
#include "api/wire/json.h"
#include "api/wire/parse.h"
#include "api/wire/task_messages.h"

namespace gantry::wire {
namespace {
using scheduler::Call;
using scheduler::Event;

template <class Message>
Result<void> decode(std::string_view body, Encoding encoding, Message& out) {
  return encoding == Encoding::json ? from_json(body, out) : from_binary(body, out);
}

// Mesos' rule for ids of tasks and frameworks (src/common/validation.cpp).
Result<void> check_id(std::string_view field, const std::string& value) {
  bool bad = value.empty() || value.size() > 255 || value == "." || value == "..";
  for (char c : value) {
    bad = bad || static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/' || c == '\\';
  }
  if (!bad) return {};
  return Error(Errc::invalid, cat(field, ": '", to_valid_utf8(value.substr(0, 40)),
                                  "' must have 1 to 255 characters, none of them '/', '\\' or a "
                                  "control character, and be neither '.' nor '..'"));
}

ResourceAmounts read_resources(const google::protobuf::RepeatedPtrField<Resource>& resources) {
  ResourceAmounts out;
  for (const Resource& resource : resources) {
    double scalar = resource.scalar().value();
    if (resource.name() == "cpus") out.cpus += scalar;
    if (resource.name() == "mem") out.mem_mib += scalar;
    if (resource.name() == "disk") out.disk_mib += scalar;
    if (resource.name() == "ports") {
      for (const Value::Range& range : resource.ranges().range()) {
        out.ports.emplace_back(range.begin(), range.end());
      }
    }
  }
  return out;
}

FrameworkSpec read_framework(const FrameworkInfo& info) {
  FrameworkSpec out;
  out.id = info.id().value();
  out.name = info.name();
  out.user = info.user();
  out.failover_timeout = info.failover_timeout();
  out.roles = {info.roles().begin(), info.roles().end()};
  for (const FrameworkInfo::Capability& capability : info.capabilities()) {
    if (capability.type() == FrameworkInfo::Capability::PARTITION_AWARE) out.partition_aware = true;
    if (capability.type() == FrameworkInfo::Capability::TASK_KILLING_STATE) {
      out.task_killing_state = true;
    }
  }
  out.raw = info.SerializeAsString();
  return out;
}

TaskSpec read_task(const TaskInfo& info) {
  TaskSpec out;
  out.id = info.task_id().value();
  out.name = info.name();
  out.agent_id = info.agent_id().value();
  out.resources = read_resources(info.resources());
  out.raw = info.SerializeAsString();
  if (info.kill_policy().has_grace_period()) {
    out.kill_grace = std::chrono::nanoseconds(info.kill_policy().grace_period().nanoseconds());
  }
  if (auto valid = check_id("task_id.value", out.id); !valid) {
    out.problem = valid.error().to_string();
  } else if (info.has_executor()) {
    out.problem = "executor: custom and default executors are not supported yet; give a command";
  } else if (!info.has_command()) {
    out.problem = "Task must have exactly one of 'command' or 'executor'";
  } else if (info.has_health_check() || info.has_check()) {
    out.problem = "check, health_check: not supported yet";
  } else if (out.kill_grace.count() < 0) {
    out.problem = "Task's 'kill_policy.grace_period' must be non-negative";
  } else {
    // The container of a command task is made by the same parser as LAUNCH_CONTAINER.
    ContainerId id = ContainerId::generate();
    out.container_id = id.value();
    auto container = parse_launch(Field("task_info"), launch_of_task(info, id, {}));
    if (container) {
      out.container = std::move(*container);
    } else {
      out.problem = container.error().to_string();
    }
  }
  return out;
}

Result<AcceptCall> read_accept(const Call::Accept& accept) {
  AcceptCall out;
  for (const OfferID& id : accept.offer_ids()) out.offer_ids.push_back(id.value());
  out.refuse_seconds = accept.filters().refuse_seconds();
  for (const Offer::Operation& operation : accept.operations()) {
    if (operation.type() != Offer::Operation::LAUNCH) {
      std::string name = Offer::Operation::Type_Name(operation.type());
      // Tasks of a group get their TASK_ERROR; other operations have no task to tell it by.
      for (const TaskInfo& task : operation.launch_group().task_group().tasks()) {
        TaskSpec spec = read_task(task);
        spec.problem = cat(name, ": task groups are not supported yet");
        out.launches.push_back(std::move(spec));
      }
      if (operation.type() == Offer::Operation::LAUNCH_GROUP) continue;
      return Error(Errc::unsupported, cat("accept.operations: ", name, " is not supported yet"));
    }
    for (const TaskInfo& task : operation.launch().task_infos()) {
      out.launches.push_back(read_task(task));
    }
  }
  return out;
}

Error missing(std::string_view field) {
  return {Errc::invalid,
          cat("Failed to validate scheduler::Call: Expecting '", field, "' to be present")};
}

Result<SchedulerCall> read_call(const Call& call) {
  SchedulerCall out;
  if (!call.has_type()) return missing("type");
  out.framework_id = call.framework_id().value();
  if (call.type() != Call::SUBSCRIBE && out.framework_id.empty()) return missing("framework_id");
  switch (call.type()) {
    case Call::SUBSCRIBE: {
      if (!call.has_subscribe()) return missing("subscribe");
      FrameworkSpec framework = read_framework(call.subscribe().framework_info());
      if (framework.id != out.framework_id) {
        return Error(Errc::invalid,
                     "Failed to validate scheduler::Call: 'framework_id' differs from "
                     "'subscribe.framework_info.id'");
      }
      if (!framework.id.empty()) GANTRY_TRY(check_id("framework_info.id", framework.id));
      out.call = SubscribeCall{std::move(framework)};
      break;
    }
    case Call::TEARDOWN:
      out.call = TeardownCall{};
      break;
    case Call::ACCEPT:
      if (!call.has_accept()) return missing("accept");
      out.call = GANTRY_TRY(read_accept(call.accept()));
      break;
    case Call::DECLINE: {
      if (!call.has_decline()) return missing("decline");
      DeclineCall decline{.refuse_seconds = call.decline().filters().refuse_seconds()};
      for (const OfferID& id : call.decline().offer_ids()) decline.offer_ids.push_back(id.value());
      out.call = std::move(decline);
      break;
    }
    case Call::REVIVE:
      out.call = ReviveCall{};
      break;
    case Call::SUPPRESS:
      out.call = SuppressCall{};
      break;
    case Call::KILL: {
      if (!call.has_kill()) return missing("kill");
      KillCall kill{call.kill().task_id().value(), call.kill().agent_id().value(), std::nullopt};
      if (call.kill().kill_policy().has_grace_period()) {
        kill.grace =
            std::chrono::nanoseconds(call.kill().kill_policy().grace_period().nanoseconds());
      }
      out.call = std::move(kill);
      break;
    }
    case Call::ACKNOWLEDGE:
      if (!call.has_acknowledge()) return missing("acknowledge");
      if (call.acknowledge().uuid().size() != 16) {
        return Error(Errc::invalid, "Failed to validate scheduler::Call: Not a valid UUID");
      }
      out.call = AcknowledgeCall{call.acknowledge().agent_id().value(),
                                 call.acknowledge().task_id().value(), call.acknowledge().uuid()};
      break;
    case Call::RECONCILE: {
      if (!call.has_reconcile()) return missing("reconcile");
      ReconcileCall reconcile;
      for (const Call::Reconcile::Task& task : call.reconcile().tasks()) {
        reconcile.tasks.emplace_back(task.task_id().value(), task.agent_id().value());
      }
      out.call = std::move(reconcile);
      break;
    }
    case Call::REQUEST:
    case Call::ACCEPT_INVERSE_OFFERS:
    case Call::DECLINE_INVERSE_OFFERS:
      out.call = IgnoredCall{Call::Type_Name(call.type())};
      break;
    default:
      return Error(Errc::unsupported, cat(Call::Type_Name(call.type()), " is not supported yet"));
  }
  return out;
}

// ---- Events ----------------------------------------------------------------------------------

void write_scalar(google::protobuf::RepeatedPtrField<Resource>& out, const char* name,
                  double value) {
  if (value <= 0) return;
  Resource& resource = *out.Add();
  resource.set_name(name);
  resource.set_type(Value::SCALAR);
  resource.mutable_scalar()->set_value(value);
  resource.mutable_allocation_info()->set_role("*");
}

}  // namespace

void write_resources(const ResourceAmounts& amounts,
                     google::protobuf::RepeatedPtrField<Resource>& out) {
  if (!amounts.ports.empty()) {
    Resource& ports = *out.Add();
    ports.set_name("ports");
    ports.set_type(Value::RANGES);
    for (auto& [begin, end] : amounts.ports) {
      Value::Range& range = *ports.mutable_ranges()->add_range();
      range.set_begin(begin);
      range.set_end(end);
    }
    ports.mutable_allocation_info()->set_role("*");
  }
  write_scalar(out, "cpus", amounts.cpus);
  write_scalar(out, "mem", amounts.mem_mib);
  write_scalar(out, "disk", amounts.disk_mib);
}

void write_status(const gantry::TaskStatus& status, gantry::wire::TaskStatus& out) {
  out.mutable_task_id()->set_value(status.task_id);
  out.set_state(static_cast<gantry::wire::TaskState>(status.state));
  if (!status.message.empty()) out.set_message(to_valid_utf8(status.message));
  out.set_source(static_cast<gantry::wire::TaskStatus::Source>(status.source));
  if (status.reason) {
    out.set_reason(static_cast<gantry::wire::TaskStatus::Reason>(*status.reason));
  }
  out.mutable_agent_id()->set_value(status.agent_id);
  if (!status.executor_id.empty()) out.mutable_executor_id()->set_value(status.executor_id);
  out.set_timestamp(status.timestamp);
  if (!status.uuid.empty()) out.set_uuid(status.uuid);
  if (!status.container_id.empty()) {
    ContainerStatus& container = *out.mutable_container_status();
    container.mutable_container_id()->set_value(status.container_id);
    if (status.executor_pid > 0) {
      container.set_executor_pid(static_cast<uint32_t>(status.executor_pid));
    }
  }
}

namespace {
struct EventWriter {
  Event& out;

  void operator()(const SubscribedEvent& event) {
    out.set_type(Event::SUBSCRIBED);
    Event::Subscribed& subscribed = *out.mutable_subscribed();
    subscribed.mutable_framework_id()->set_value(event.framework_id);
    subscribed.set_heartbeat_interval_seconds(event.heartbeat_seconds);
    MasterInfo& master = *subscribed.mutable_master_info();
    master.set_id(event.master_id);
    master.set_ip(::inet_addr("127.0.0.1"));
    master.set_port(0);
    master.set_hostname(event.hostname);
    master.set_version(event.version);
    master.mutable_address()->set_hostname(event.hostname);
    master.mutable_address()->set_ip("127.0.0.1");
    master.mutable_address()->set_port(0);
  }
  void operator()(const OffersEvent& event) {
    out.set_type(Event::OFFERS);
    for (const OfferEvent& offer : event.offers) {
      Offer& o = *out.mutable_offers()->add_offers();
      o.mutable_id()->set_value(offer.id);
      o.mutable_framework_id()->set_value(offer.framework_id);
      o.mutable_agent_id()->set_value(offer.agent_id);
      o.set_hostname(offer.hostname);
      // Frameworks read the address of the agent from here; ours is this host.
      URL& url = *o.mutable_url();
      url.set_scheme("http");
      url.mutable_address()->set_hostname(offer.hostname);
      url.mutable_address()->set_ip("127.0.0.1");
      url.mutable_address()->set_port(0);
      url.set_path("/slave(1)");
      write_resources(offer.resources, *o.mutable_resources());
      o.mutable_allocation_info()->set_role("*");
    }
  }
  void operator()(const RescindEvent& event) {
    out.set_type(Event::RESCIND);
    out.mutable_rescind()->mutable_offer_id()->set_value(event.offer_id);
  }
  void operator()(const UpdateEvent& event) {
    out.set_type(Event::UPDATE);
    write_status(event.status, *out.mutable_update()->mutable_status());
  }
  void operator()(const ErrorEvent& event) {
    out.set_type(Event::ERROR);
    out.mutable_error()->set_message(event.message);
  }
  void operator()(const HeartbeatEvent&) { out.set_type(Event::HEARTBEAT); }
};
}  // namespace

Result<SchedulerCall> parse_scheduler_call(std::string_view body, Encoding encoding) {
  Call call;
  GANTRY_TRY(decode(body, encoding, call));
  return read_call(call);
}

std::string encode_event(const SchedulerEvent& event, Encoding encoding) {
  Event out;
  std::visit(EventWriter{out}, event);
  return encoding == Encoding::json ? to_json(out) : out.SerializeAsString();
}

Result<FrameworkSpec> parse_framework_info(const std::string& raw) {
  FrameworkInfo info;
  GANTRY_TRY(from_binary(raw, info));
  return read_framework(info);
}

Result<TaskSpec> parse_task_info(const std::string& raw) {
  TaskInfo info;
  GANTRY_TRY(from_binary(raw, info));
  return read_task(info);
}
}  // namespace gantry::wire
