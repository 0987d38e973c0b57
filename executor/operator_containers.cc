// OperatorCall: containers and their checkpoints.
#include <csignal>
#include <map>

#include "base/sys.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;

namespace {
double now_seconds() { return static_cast<double>(sys::realtime_ns()) * 1e-9; }

Response not_there(const ContainerId& id) {
  return Response::text(404, cat("Container ", id.to_string(), " cannot be found"));
}
}  // namespace

Co<Response> OperatorCall::launch(Field field, Call::LaunchContainer request, Begin begin) {
  ContainerId id = GANTRY_CALL_TRY(id_of(field, request.container_id()));
  GANTRY_CALL_TRY(
      check_host_cpus(field / "gantry_spec" / "resources", request.gantry_spec().resources()));
  ContainerSpec spec = GANTRY_CALL_TRY(wire::parse_launch(field, request));
  spec.is_session = call_.type() == Call::LAUNCH_NESTED_CONTAINER_SESSION;
  auto place = co_await pending_.take(http::client_of(exchange_.peer()));
  if (!place) co_return refusal(Error(Errc::cancelled, "given up before its turn came"));
  auto launched = begin == Begin::now ? co_await backend_.launch(id, std::move(spec))
                                      : co_await backend_.create(id, std::move(spec));
  place.reset();
  if (launched) {
    co_return Response::empty(*launched == LaunchAnswer::started ? 200 : 202);
  }
  const Error& error = launched.error();
  if (id.parent() != nullptr && error.is(Errc::not_found)) {
    co_return Response::text(400,
                             cat("Parent container ", id.parent()->to_string(), " does not exist"));
  }
  // Mesos: whatever goes wrong in a launch is a 400 with the reason.
  const unsigned status = status_of(error);
  Response response =
      Response::text(status == 404 || status == 500 ? 400 : status, error.to_string());
  response.headers.emplace_back("Gantry-Exit-Status", cat(exit_status_of_failed_launch(error)));
  co_return response;
}

Co<Response> OperatorCall::launch_container() {
  co_return co_await launch(Field("launch_container"),
                            std::move(*call_.mutable_launch_container()));
}

Co<Response> OperatorCall::create() {
  auto* in = call_.mutable_gantry_create()->mutable_launch();
  const Field call("gantry_create");
  const Field field = call / "launch";
  if (in->container_id().has_parent()) {
    co_return invalid_call(wire::invalid(field / "container_id" / "parent",
                                         "a command in a container is launched, not created"));
  }
  co_return co_await launch(field, std::move(*in), Begin::later);
}

Co<Response> OperatorCall::launch_nested_container() {
  auto* in = call_.mutable_launch_nested_container();
  if (!in->container_id().has_parent()) {
    co_return invalid_call(wire::expecting("launch_nested_container.container_id.parent"));
  }
  Call::LaunchContainer request;
  request.mutable_container_id()->Swap(in->mutable_container_id());
  if (in->has_command()) request.mutable_command()->Swap(in->mutable_command());
  if (in->has_container()) request.mutable_container()->Swap(in->mutable_container());
  co_return co_await launch(Field("launch_nested_container"), std::move(request));
}

Co<Response> OperatorCall::wait_container() {
  ContainerId id =
      GANTRY_CALL_TRY(id_of(Field("wait_container"), call_.wait_container().container_id()));
  exchange_.cancel_when_closed();
  auto outcome = co_await backend_.wait(id);
  if (!outcome && outcome.error().is(Errc::not_found)) co_return not_there(id);
  wait_to_wire(GANTRY_ANSWER_TRY(std::move(outcome)), *answer_.mutable_wait_container());
  co_return answer(Answer::WAIT_CONTAINER);
}

Co<Response> OperatorCall::wait_nested_container() {
  ContainerId id = GANTRY_CALL_TRY(
      id_of(Field("wait_nested_container"), call_.wait_nested_container().container_id()));
  exchange_.cancel_when_closed();
  auto outcome = co_await backend_.wait(id);
  if (!outcome && outcome.error().is(Errc::not_found)) co_return not_there(id);
  wait_to_wire(GANTRY_ANSWER_TRY(std::move(outcome)), *answer_.mutable_wait_nested_container());
  co_return answer(Answer::WAIT_NESTED_CONTAINER);
}

Co<Response> OperatorCall::kill(ContainerId id, int signal) {
  if (signal < 1 || signal > SIGRTMAX) {
    co_return invalid_call(
        Error(Errc::invalid, cat("signal: must be 1 to ", SIGRTMAX, ", not ", signal)));
  }
  auto killed = co_await backend_.kill(id, signal);
  if (!killed && killed.error().is(Errc::not_found)) {
    co_return Response::text(
        404, cat("Container '", id.to_string(), "' cannot be found (or is already killed)"));
  }
  GANTRY_ANSWER_TRY(std::move(killed));
  co_return done();
}

Co<Response> OperatorCall::kill_container() {
  const auto& in = call_.kill_container();
  ContainerId id = GANTRY_CALL_TRY(id_of(Field("kill_container"), in.container_id()));
  co_return co_await kill(std::move(id), in.has_signal() ? in.signal() : SIGKILL);
}

Co<Response> OperatorCall::kill_nested_container() {
  const auto& in = call_.kill_nested_container();
  ContainerId id = GANTRY_CALL_TRY(id_of(Field("kill_nested_container"), in.container_id()));
  co_return co_await kill(std::move(id), in.has_signal() ? in.signal() : SIGKILL);
}

Co<Response> OperatorCall::remove(ContainerId id, Force force) {
  auto removed = co_await backend_.remove(id, force);
  if (!removed && removed.error().is(Errc::not_found)) {
    // Mesos' REMOVE of a nested container is idempotent.
    co_return id.parent() != nullptr ? done() : not_there(id);
  }
  GANTRY_ANSWER_TRY(std::move(removed));
  co_return done();
}

Co<Response> OperatorCall::remove_container() {
  const auto& in = call_.remove_container();
  ContainerId id = GANTRY_CALL_TRY(id_of(Field("remove_container"), in.container_id()));
  co_return co_await remove(std::move(id), in.gantry_force() ? Force::yes : Force::no);
}

Co<Response> OperatorCall::remove_nested_container() {
  ContainerId id = GANTRY_CALL_TRY(
      id_of(Field("remove_nested_container"), call_.remove_nested_container().container_id()));
  co_return co_await remove(std::move(id), Force::no);
}

Co<Response> OperatorCall::pause() {
  ContainerId id =
      GANTRY_CALL_TRY(id_of(Field("gantry_pause"), call_.gantry_pause().container_id()));
  GANTRY_ANSWER_TRY(co_await backend_.pause(std::move(id)));
  co_return done();
}

Co<Response> OperatorCall::resume() {
  ContainerId id =
      GANTRY_CALL_TRY(id_of(Field("gantry_resume"), call_.gantry_resume().container_id()));
  GANTRY_ANSWER_TRY(co_await backend_.resume(std::move(id)));
  co_return done();
}

Co<Response> OperatorCall::stop() {
  const auto& in = call_.gantry_stop();
  ContainerId id = GANTRY_CALL_TRY(id_of(Field("gantry_stop"), in.container_id()));
  std::optional<std::chrono::seconds> grace;
  if (in.has_timeout_seconds()) {
    if (in.timeout_seconds() > 31'536'000) {
      co_return invalid_call(wire::invalid(Field("gantry_stop") / "timeout_seconds",
                                           "must be at most a year (31536000)"));
    }
    grace = std::chrono::seconds(in.timeout_seconds());
  }
  std::optional<int> signal;
  if (in.has_signal()) {
    signal = GANTRY_CALL_TRY(wire::parse_signal_name(Field("gantry_stop") / "signal", in.signal()));
  }
  const ExitOutcome outcome = GANTRY_ANSWER_TRY(co_await backend_.stop(id, grace, signal));
  *answer_.mutable_gantry_stop()->mutable_exit() = exit_to_wire(outcome);
  co_return answer(Answer::GANTRY_STOP);
}

Co<Response> OperatorCall::get_containers() {
  const bool nested = call_.get_containers().show_nested();
  const bool standalone = call_.get_containers().show_standalone();
  auto all = GANTRY_ANSWER_TRY(co_await backend_.list());
  std::erase_if(all, [&](const ContainerSummary& c) {
    return !is_live(c.state) || (c.id.parent() != nullptr && !nested) ||
           (c.id.parent() == nullptr && c.framework_id.empty() && !standalone);
  });
  std::map<ContainerId, Usage> by_id;
  if (!all.empty()) {
    std::vector<ContainerId> ids;
    for (const auto& container : all) ids.push_back(container.id);
    auto usages = GANTRY_ANSWER_TRY(co_await backend_.usage(std::move(ids)));
    for (auto& usage : usages) by_id.emplace(usage.id, std::move(usage.usage));
  }
  co_return co_await answer_list(
      Answer::GET_CONTAINERS, "get_containers", std::move(all),
      [by_id = std::move(by_id)](Answer& piece, const ContainerSummary& container) {
        const auto found = by_id.find(container.id);
        *piece.mutable_get_containers()->add_containers() = container_to_wire(
            container, found == by_id.end() ? nullptr : &found->second, now_seconds());
      });
}

Co<Response> OperatorCall::list() {
  auto all = GANTRY_ANSWER_TRY(co_await backend_.list());
  std::erase_if(all, [this](const ContainerSummary& summary) {
    return (!call_.gantry_list().all() && !is_live(summary.state)) ||
           (summary.id.parent() != nullptr && !call_.gantry_list().nested());
  });
  co_return co_await answer_list(Answer::GANTRY_LIST, "gantry_list", std::move(all),
                                 [](Answer& piece, const ContainerSummary& summary) {
                                   *piece.mutable_gantry_list()->add_containers() =
                                       summary_to_wire(summary);
                                 });
}

Co<Response> OperatorCall::inspect() {
  ContainerId id =
      GANTRY_CALL_TRY(id_of(Field("gantry_inspect"), call_.gantry_inspect().container_id()));
  details_to_wire(GANTRY_ANSWER_TRY(co_await backend_.inspect(std::move(id))),
                  *answer_.mutable_gantry_inspect());
  co_return answer(Answer::GANTRY_INSPECT);
}

Co<Response> OperatorCall::stats() {
  std::vector<ContainerId> ids;
  const Field field("gantry_stats");
  const Field list = field / "container_ids";
  for (int i = 0; i < call_.gantry_stats().container_ids_size(); ++i) {
    ids.push_back(
        GANTRY_CALL_TRY(wire::parse_container_id(list[i], call_.gantry_stats().container_ids(i))));
  }
  auto usages = GANTRY_ANSWER_TRY(co_await backend_.usage(std::move(ids)));
  co_return co_await answer_list(Answer::GANTRY_STATS, "gantry_stats", std::move(usages),
                                 [](Answer& piece, const ContainerUsage& usage) {
                                   auto* out = piece.mutable_gantry_stats()->add_containers();
                                   *out->mutable_container_id() = wire::to_wire(usage.id);
                                   if (!usage.name.empty()) out->set_name(usage.name);
                                   *out->mutable_statistics() =
                                       usage_to_wire(usage.usage, now_seconds());
                                 });
}

// ---- Checkpoints ------------------------------------------------------------------------------

namespace {
void add_steps(const std::vector<std::pair<std::string, std::chrono::microseconds>>& steps,
               google::protobuf::RepeatedPtrField<wire::agent::Response::GantryStep>& out) {
  for (const auto& [name, duration] : steps) {
    auto* step = out.Add();
    step->set_name(name);
    step->set_microseconds(static_cast<uint64_t>(duration.count()));
  }
}
}  // namespace

Co<Response> OperatorCall::checkpoint() {
  const auto& in = call_.gantry_checkpoint();
  const Field field("gantry_checkpoint");
  ContainerId id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  if (in.has_name()) GANTRY_CALL_TRY(wire::check_container_name(field / "name", in.name()));
  const CheckpointAnswer made = GANTRY_ANSWER_TRY(
      co_await backend_.checkpoint(std::move(id), {.name = in.name(),
                                                   .leave_running = in.leave_running(),
                                                   .tcp_established = in.tcp_established(),
                                                   .file_locks = in.file_locks()}));
  auto* out = answer_.mutable_gantry_checkpoint();
  out->set_checkpoint(made.name);
  out->set_size_bytes(made.size);
  if (!made.path.empty()) out->set_path(made.path);
  out->set_frozen_microseconds(static_cast<uint64_t>(made.frozen.count()));
  out->set_total_microseconds(static_cast<uint64_t>(made.total.count()));
  add_steps(made.steps, *out->mutable_steps());
  co_return answer(Answer::GANTRY_CHECKPOINT);
}

Co<Response> OperatorCall::restore() {
  const auto& in = call_.gantry_restore();
  const Field field("gantry_restore");
  wire::ContainerID reference;  // a checkpoint is found by its own name, or by its container's
  reference.set_value(in.checkpoint());
  GANTRY_CALL_TRY(wire::parse_container_id(field / "checkpoint", reference));
  RestoreOptions options{.checkpoint = in.checkpoint(),
                         .id = {},
                         .name = in.name(),
                         .tcp_established = in.tcp_established()};
  audited_id_ = in.checkpoint();
  if (in.has_container_id()) options.id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  if (in.has_name()) GANTRY_CALL_TRY(wire::check_container_name(field / "name", in.name()));
  const RestoreAnswer made = GANTRY_ANSWER_TRY(co_await backend_.restore(std::move(options)));
  auto* out = answer_.mutable_gantry_restore();
  *out->mutable_container_id() = wire::to_wire(made.id);
  out->set_total_microseconds(static_cast<uint64_t>(made.total.count()));
  add_steps(made.steps, *out->mutable_steps());
  co_return answer(Answer::GANTRY_RESTORE);
}
}  // namespace gantry
