#include "executor/operator_call.h"

#include <algorithm>
#include <csignal>

#include "api/wire/json.h"
#include "base/str.h"
#include "base/sys.h"
#include "executor/operator_api.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;

namespace {
// Mesos: 16 pages for one READ_FILE.
constexpr uint64_t kMaxRead = 65536;

double now_seconds() { return static_cast<double>(sys::realtime_ns()) * 1e-9; }

Response not_there(const ContainerId& id) {
  return Response::text(404, cat("Container ", id.to_string(), " cannot be found"));
}
}  // namespace

// Coroutine early return: the value of a Result, or the answer that its error becomes.
#define GANTRY_ANSWER_TRY(...) \
  GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), co_return, refusal, __VA_ARGS__)
// The same for what is wrong with the call itself.
#define GANTRY_CALL_TRY(...) \
  GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), co_return, invalid_call, __VA_ARGS__)

struct OperatorCall::Operation {
  enum class Kind { look, change, stream, change_and_stream };
  Call::Type type;
  const char* parameter;  // the field that must be present; "": none
  Kind kind;
  Co<Response> (OperatorCall::*run)();

  bool streams() const { return kind == Kind::stream || kind == Kind::change_and_stream; }
  bool changes() const { return kind == Kind::change || kind == Kind::change_and_stream; }
};

const OperatorCall::Operation* OperatorCall::find_operation(Call::Type type) {
  using Kind = Operation::Kind;
  static constexpr Operation kOperations[] = {
      {Call::GET_HEALTH, "", Kind::look, &OperatorCall::get_health},
      {Call::GET_VERSION, "", Kind::look, &OperatorCall::get_version},
      {Call::GET_METRICS, "get_metrics", Kind::look, &OperatorCall::get_metrics},
      {Call::LIST_FILES, "list_files", Kind::look, &OperatorCall::list_files},
      {Call::READ_FILE, "read_file", Kind::look, &OperatorCall::read_file},
      {Call::GET_CONTAINERS, "", Kind::look, &OperatorCall::get_containers},
      {Call::LAUNCH_CONTAINER, "launch_container", Kind::change, &OperatorCall::launch_container},
      {Call::LAUNCH_NESTED_CONTAINER, "launch_nested_container", Kind::change,
       &OperatorCall::launch_nested_container},
      {Call::LAUNCH_NESTED_CONTAINER_SESSION, "launch_nested_container_session",
       Kind::change_and_stream, &OperatorCall::launch_session},
      {Call::WAIT_CONTAINER, "wait_container", Kind::look, &OperatorCall::wait_container},
      {Call::WAIT_NESTED_CONTAINER, "wait_nested_container", Kind::look,
       &OperatorCall::wait_nested_container},
      {Call::KILL_CONTAINER, "kill_container", Kind::change, &OperatorCall::kill_container},
      {Call::KILL_NESTED_CONTAINER, "kill_nested_container", Kind::change,
       &OperatorCall::kill_nested_container},
      {Call::REMOVE_CONTAINER, "remove_container", Kind::change, &OperatorCall::remove_container},
      {Call::REMOVE_NESTED_CONTAINER, "remove_nested_container", Kind::change,
       &OperatorCall::remove_nested_container},
      {Call::ATTACH_CONTAINER_OUTPUT, "attach_container_output", Kind::stream,
       &OperatorCall::attach_output},
      {Call::PRUNE_IMAGES, "", Kind::change, &OperatorCall::prune_images},
      {Call::GANTRY_LIST, "", Kind::look, &OperatorCall::list},
      {Call::GANTRY_INSPECT, "gantry_inspect", Kind::look, &OperatorCall::inspect},
      {Call::GANTRY_PAUSE, "gantry_pause", Kind::change, &OperatorCall::pause},
      {Call::GANTRY_RESUME, "gantry_resume", Kind::change, &OperatorCall::resume},
      {Call::GANTRY_STOP, "gantry_stop", Kind::change, &OperatorCall::stop},
      {Call::GANTRY_STATS, "", Kind::look, &OperatorCall::stats},
      {Call::GANTRY_RUN, "gantry_run", Kind::change_and_stream, &OperatorCall::run_container},
      {Call::GANTRY_IMAGES, "", Kind::look, &OperatorCall::images},
      {Call::GANTRY_REMOVE_IMAGE, "gantry_remove_image", Kind::change, &OperatorCall::remove_image},
      {Call::GANTRY_CHECKPOINT, "gantry_checkpoint", Kind::change, &OperatorCall::checkpoint},
      {Call::GANTRY_RESTORE, "gantry_restore", Kind::change, &OperatorCall::restore},
      {Call::GANTRY_DOCTOR, "", Kind::look, &OperatorCall::doctor},
      {Call::GANTRY_SHUTDOWN, "", Kind::change, &OperatorCall::shutdown},
      {Call::GANTRY_UPGRADE, "gantry_upgrade", Kind::change, &OperatorCall::upgrade},
  };
  for (const Operation& operation : kOperations) {
    if (operation.type == type) return &operation;
  }
  return nullptr;
}

Response invalid_call(const Error& error) {
  // A ContainerInfo of another containerizer is refused in exactly these words.
  const std::string text = error.to_string();
  if (text == "The provided ContainerInfo is not supported") return Response::text(400, text);
  return Response::text(error.is(Errc::unsupported) ? 501 : 400,
                        cat("Failed to validate agent::Call: ", text));
}

// A streaming call needs a streaming answer, and the others cannot have one. Status 0: it is fine.
Response OperatorCall::check_streaming(const Operation& operation) const {
  if (operation.streams() == negotiated_.answer_streams) return Response::empty(0);
  const std::string& name = Call::Type_Name(operation.type);
  if (operation.streams()) {
    return Response::text(406, cat("Expecting 'Accept' to allow application/recordio for ", name));
  }
  return Response::text(406, cat("Streaming response is not supported for ", name));
}

Co<Response> OperatorCall::run() {
  auto decoded = decode(negotiated_.request, exchange_.request().body, call_);
  if (!decoded) co_return Response::text(400, decoded.error().to_string());
  if (!call_.has_type()) co_return invalid_call(wire::expecting("type"));
  const std::string& name = Call::Type_Name(call_.type());
  if (call_.type() == Call::ATTACH_CONTAINER_INPUT) {
    co_return Response::text(415,
                             cat("Expecting 'Content-Type' of application/recordio for ", name));
  }
  if (call_.type() == Call::GANTRY_IMPORT) {
    co_return Response::text(415, cat("Expecting 'Content-Type' of application/x-tar for ", name));
  }
  const Operation* operation = find_operation(call_.type());
  if (operation == nullptr) {
    co_return Response::text(501, cat("The call ", name, " is not implemented"));
  }
  Response refused = check_streaming(*operation);
  if (refused.status != 0) co_return refused;
  if (operation->parameter[0] != '\0') {
    const auto* field = Call::descriptor()->FindFieldByName(operation->parameter);
    GANTRY_CHECK(field != nullptr);
    if (!call_.GetReflection()->HasField(call_, field)) {
      co_return invalid_call(wire::expecting(operation->parameter));
    }
  }
  Response response = co_await (this->*operation->run)();
  if (operation->changes()) audit(response);
  co_return response;
}

void OperatorCall::audit(const Response& response) {
  backend_.audit(exchange_.peer(), {Call::Type_Name(call_.type()), audited_id_, response.status,
                                    response.status >= 300 ? response.body : std::string()});
}

Result<ContainerId> OperatorCall::id_of(const Field& field, const wire::ContainerID& in) {
  ContainerId id = GANTRY_TRY(wire::parse_container_id(field / "container_id", in));
  audited_id_ = id.to_string();
  return id;
}

Response OperatorCall::answer(Answer::Type type) {
  answer_.set_type(type);
  return gantry::answer(negotiated_.answer, answer_);
}

// ---- This host -------------------------------------------------------------------------------

Co<Response> OperatorCall::get_health() {
  answer_.mutable_get_health()->set_healthy(backend_.is_healthy());
  co_return answer(Answer::GET_HEALTH);
}

Co<Response> OperatorCall::get_version() {
  const VersionFacts facts = backend_.version();
  auto* out = answer_.mutable_get_version()->mutable_version_info();
  out->set_version(facts.version);
  if (!facts.build_date.empty()) out->set_build_date(facts.build_date);
  if (facts.build_time != 0) out->set_build_time(facts.build_time);
  if (!facts.git_sha.empty()) out->set_git_sha(facts.git_sha);
  co_return answer(Answer::GET_VERSION);
}

Co<Response> OperatorCall::get_metrics() {
  answer_.mutable_get_metrics();
  for (const auto& [name, value] : backend_.metrics()) {
    auto* metric = answer_.mutable_get_metrics()->add_metrics();
    metric->set_name(name);
    metric->set_value(value);
  }
  co_return answer(Answer::GET_METRICS);
}

Co<Response> OperatorCall::list_files() {
  GANTRY_CALL_TRY(
      wire::check_absolute_path(Field("list_files") / "path", call_.list_files().path()));
  answer_.mutable_list_files();
  for (const FileEntry& entry :
       GANTRY_ANSWER_TRY(co_await backend_.list_files(call_.list_files().path()))) {
    *answer_.mutable_list_files()->add_file_infos() = file_to_wire(entry);
  }
  co_return answer(Answer::LIST_FILES);
}

Co<Response> OperatorCall::read_file() {
  const auto& in = call_.read_file();
  GANTRY_CALL_TRY(wire::check_absolute_path(Field("read_file") / "path", in.path()));
  const uint64_t length = in.has_length() ? std::min(in.length(), kMaxRead) : kMaxRead;
  FilePiece piece = GANTRY_ANSWER_TRY(co_await backend_.read_file(in.path(), in.offset(), length));
  answer_.mutable_read_file()->set_size(piece.size);
  answer_.mutable_read_file()->set_data(std::move(piece.data));
  co_return answer(Answer::READ_FILE);
}

Co<Response> OperatorCall::doctor() {
  using Verdict = Answer::GantryDoctor::Verdict;
  answer_.mutable_gantry_doctor();
  for (const Finding& finding : GANTRY_ANSWER_TRY(co_await backend_.doctor())) {
    auto* out = answer_.mutable_gantry_doctor()->add_findings();
    out->set_feature(finding.feature);
    out->set_verdict(static_cast<Verdict>(static_cast<int>(finding.verdict) + 1));
    if (!finding.detail.empty()) out->set_detail(finding.detail);
    if (!finding.remedy.empty()) out->set_remedy(finding.remedy);
  }
  co_return answer(Answer::GANTRY_DOCTOR);
}

Co<Response> OperatorCall::shutdown() {
  GANTRY_ANSWER_TRY(co_await backend_.shutdown());
  co_return done();
}

Co<Response> OperatorCall::upgrade() {
  const std::string& program = call_.gantry_upgrade().program();
  if (!program.starts_with('/')) {
    co_return invalid_call(wire::invalid(Field("gantry_upgrade") / "program",
                                         "must be the absolute path of a gantry-executor"));
  }
  GANTRY_ANSWER_TRY(co_await backend_.upgrade(program));
  co_return done();
}

// ---- Containers ------------------------------------------------------------------------------

Co<Response> OperatorCall::launch(Field field, Call::LaunchContainer request) {
  ContainerId id = GANTRY_CALL_TRY(id_of(field, request.container_id()));
  ContainerSpec spec = GANTRY_CALL_TRY(wire::parse_launch(field, request));
  spec.is_session = call_.type() == Call::LAUNCH_NESTED_CONTAINER_SESSION;
  auto launched = co_await backend_.launch(id, std::move(spec));
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
  answer_.mutable_get_containers();
  if (!all.empty()) {
    std::vector<ContainerId> ids;
    for (const auto& container : all) ids.push_back(container.id);
    const auto usages = GANTRY_ANSWER_TRY(co_await backend_.usage(std::move(ids)));
    std::map<ContainerId, const Usage*> by_id;
    for (const auto& usage : usages) by_id[usage.id] = &usage.usage;
    for (const auto& container : all) {
      const auto found = by_id.find(container.id);
      *answer_.mutable_get_containers()->add_containers() = container_to_wire(
          container, found == by_id.end() ? nullptr : found->second, now_seconds());
    }
  }
  co_return answer(Answer::GET_CONTAINERS);
}

Co<Response> OperatorCall::list() {
  answer_.mutable_gantry_list();
  for (const ContainerSummary& summary : GANTRY_ANSWER_TRY(co_await backend_.list())) {
    if (!call_.gantry_list().all() && !is_live(summary.state)) continue;
    if (summary.id.parent() != nullptr && !call_.gantry_list().nested()) continue;
    *answer_.mutable_gantry_list()->add_containers() = summary_to_wire(summary);
  }
  co_return answer(Answer::GANTRY_LIST);
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
  answer_.mutable_gantry_stats();
  for (const ContainerUsage& usage : GANTRY_ANSWER_TRY(co_await backend_.usage(std::move(ids)))) {
    auto* out = answer_.mutable_gantry_stats()->add_containers();
    *out->mutable_container_id() = wire::to_wire(usage.id);
    if (!usage.name.empty()) out->set_name(usage.name);
    *out->mutable_statistics() = usage_to_wire(usage.usage, now_seconds());
  }
  co_return answer(Answer::GANTRY_STATS);
}

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

// ---- Images ----------------------------------------------------------------------------------

Co<Response> OperatorCall::images() {
  answer_.mutable_gantry_images();
  for (const ImageSummary& image : GANTRY_ANSWER_TRY(co_await backend_.images())) {
    *answer_.mutable_gantry_images()->add_images() = image_to_wire(image);
  }
  co_return answer(Answer::GANTRY_IMAGES);
}

Co<Response> OperatorCall::remove_image() {
  const auto& in = call_.gantry_remove_image();
  GANTRY_CALL_TRY(
      wire::check_image_reference(Field("gantry_remove_image") / "reference", in.reference()));
  audited_id_ = in.reference();
  const RemovedImages removed = GANTRY_ANSWER_TRY(
      co_await backend_.remove_image(in.reference(), in.force() ? Force::yes : Force::no));
  auto* out = answer_.mutable_gantry_remove_image();
  for (const auto& reference : removed.untagged) out->add_untagged(reference);
  for (const auto& digest : removed.deleted) out->add_deleted(digest);
  out->set_freed_bytes(removed.freed);
  co_return answer(Answer::GANTRY_REMOVE_IMAGE);
}

Co<Response> OperatorCall::prune_images() {
  std::vector<std::string> excluded;
  for (const auto& image : call_.prune_images().excluded_images()) {
    excluded.push_back(image.docker().name());
  }
  GANTRY_ANSWER_TRY(co_await backend_.prune_images(std::move(excluded)));
  co_return done();
}
}  // namespace gantry
