#include "executor/scheduler/scheduler_api.h"

#include "api/wire/recordio.h"
#include "api/wire/scheduler.h"

namespace gantry {
namespace {
constexpr auto kHeartbeat = std::chrono::seconds(15);
constexpr const char* kJson = "application/json";
constexpr const char* kProtobuf = "application/x-protobuf";

std::string media_type(const std::string* header) {
  if (header == nullptr) return {};
  std::string type = header->substr(0, header->find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  return type;
}

// What the client takes: JSON where it does not say, or takes anything.
std::optional<wire::Encoding> accepted(const http::Request& request) {
  const std::string* accept = request.header("Accept");
  if (accept == nullptr || accept->find("*/*") != std::string::npos ||
      accept->find(kJson) != std::string::npos) {
    return wire::Encoding::json;
  }
  if (accept->find(kProtobuf) != std::string::npos) return wire::Encoding::protobuf;
  return std::nullopt;
}

unsigned status_of(const Error& error) {
  if (error.is(Errc::conflict)) return 403;
  if (error.is(Errc::unsupported)) return 501;
  return 400;  // Mesos says 400 for an unknown framework too
}
http::Response failure(const Error& error) {
  return http::Response::text(status_of(error), error.to_string());
}

// What of a call changes something here, without its outcome: FRAMEWORK or FRAMEWORK/TASK.
std::vector<OperatorBackend::AuditLine> audit_lines(const SchedulerCall& call) {
  std::vector<OperatorBackend::AuditLine> out;
  if (const auto* accept = std::get_if<AcceptCall>(&call.call)) {
    for (const TaskSpec& task : accept->launches) {
      out.push_back({"LAUNCH", cat(call.framework_id, "/", task.id), 0, {}});
    }
  } else if (const auto* kill = std::get_if<KillCall>(&call.call)) {
    out.push_back({"KILL", cat(call.framework_id, "/", kill->task_id), 0, {}});
  } else if (std::holds_alternative<TeardownCall>(call.call)) {
    out.push_back({"TEARDOWN", call.framework_id, 0, {}});
  }
  return out;
}
}  // namespace

Co<http::Response> SchedulerApi::handle(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  if (request.method != "POST") {
    http::Response response = http::Response::text(
        405, cat("Expecting one of { 'POST' }, but received '", request.method, "'"));
    response.headers.emplace_back("Allow", "POST");
    co_return response;
  }
  std::string type = media_type(request.header("Content-Type"));
  if (type.empty()) co_return http::Response::text(400, "Expecting 'Content-Type' to be present");
  if (type != kJson && type != kProtobuf) {
    co_return http::Response::text(415,
                                   cat("Expecting 'Content-Type' of ", kJson, " or ", kProtobuf));
  }
  auto call = wire::parse_scheduler_call(
      request.body, type == kJson ? wire::Encoding::json : wire::Encoding::protobuf);
  if (!call) co_return failure(call.error());
  if (auto* subscribe_call = std::get_if<SubscribeCall>(&call->call)) {
    if (request.header("Mesos-Stream-Id") != nullptr) {
      co_return http::Response::text(
          400, "Subscribe calls should not include the 'Mesos-Stream-Id' header");
    }
    co_return co_await subscribe(exchange, std::move(subscribe_call->framework));
  }
  std::vector<OperatorBackend::AuditLine> lines = audit_lines(*call);
  http::Response response = co_await carry_out(request, std::move(*call));
  for (OperatorBackend::AuditLine& line : lines) {
    line.status = response.status;
    line.error = response.body;
    backend_.audit(exchange.peer(), line);
  }
  co_return response;
}

Co<http::Response> SchedulerApi::carry_out(const http::Request& request, SchedulerCall call) {
  const std::string* stream_id = request.header("Mesos-Stream-Id");
  if (stream_id == nullptr) {
    // ORDER: an unknown framework is the better answer where both are true.
    Result<void> known = scheduler_.authorize(call.framework_id, "");
    if (!known && !known.error().is(Errc::invalid)) co_return failure(known.error());
    co_return http::Response::text(
        400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header");
  }
  if (auto known = scheduler_.authorize(call.framework_id, *stream_id); !known) {
    co_return failure(known.error());
  }
  auto handled = co_await scheduler_.handle(std::move(call));
  co_return handled ? http::Response::empty(202) : failure(handled.error());
}

Co<http::Response> SchedulerApi::subscribe(http::Exchange& exchange, FrameworkSpec framework) {
  auto encoding = accepted(exchange.request());
  if (!encoding) {
    co_return http::Response::text(406,
                                   cat("Expecting 'Accept' to allow ", kProtobuf, " or ", kJson));
  }
  auto subscription = co_await scheduler_.subscribe(std::move(framework));
  if (!subscription) co_return http::Response::text(500, subscription.error().to_string());
  backend_.audit(exchange.peer(), {"SUBSCRIBE", (*subscription)->framework_id, 200, {}});
  http::Response head{.content_type = *encoding == wire::Encoding::json ? kJson : kProtobuf,
                      .headers = {{"Mesos-Stream-Id", (*subscription)->stream_id}}};
  auto stream = co_await exchange.start_stream(std::move(head));
  while (stream) {
    std::optional<SchedulerEvent> event = co_await (*subscription)->next(kHeartbeat);
    if (!event) {
      (co_await (*stream)->finish()).ignore("the client may be gone");
      break;
    }
    auto written =
        co_await (*stream)->write(wire::encode_record(wire::encode_event(*event, *encoding)));
    if (!written) break;
  }
  scheduler_.disconnected(*subscription);
  co_return http::Response::empty(200);
}
}  // namespace gantry
