#include "executor/operator_call.h"

#include <glog/logging.h>

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
}  // namespace

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
      {Call::GET_FLAGS, "", Kind::look, &OperatorCall::get_flags},
      {Call::GET_LOGGING_LEVEL, "", Kind::look, &OperatorCall::get_logging_level},
      {Call::SET_LOGGING_LEVEL, "set_logging_level", Kind::change,
       &OperatorCall::set_logging_level},
      {Call::GET_AGENT, "", Kind::look, &OperatorCall::get_agent},
      {Call::GET_STATE, "", Kind::look, &OperatorCall::get_state},
      {Call::GET_FRAMEWORKS, "", Kind::look, &OperatorCall::get_frameworks},
      {Call::GET_EXECUTORS, "", Kind::look, &OperatorCall::get_executors},
      {Call::GET_TASKS, "", Kind::look, &OperatorCall::get_tasks},
      {Call::GET_OPERATIONS, "", Kind::look, &OperatorCall::get_operations},
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
      {Call::GANTRY_CREATE, "gantry_create", Kind::change, &OperatorCall::create},
      {Call::GANTRY_START, "gantry_start", Kind::change, &OperatorCall::start},
      {Call::GANTRY_UPDATE, "gantry_update", Kind::change, &OperatorCall::update},
      {Call::GANTRY_STATS, "", Kind::look, &OperatorCall::stats},
      {Call::GANTRY_RUN, "gantry_run", Kind::change_and_stream, &OperatorCall::run_container},
      {Call::GANTRY_EVENTS, "", Kind::stream, &OperatorCall::events},
      {Call::GANTRY_IMAGES, "", Kind::look, &OperatorCall::images},
      {Call::GANTRY_REMOVE_IMAGE, "gantry_remove_image", Kind::change, &OperatorCall::remove_image},
      {Call::GANTRY_TAG_IMAGE, "gantry_tag_image", Kind::change, &OperatorCall::tag_image},
      {Call::GANTRY_INSPECT_IMAGE, "gantry_inspect_image", Kind::look,
       &OperatorCall::inspect_image},
      {Call::GANTRY_SAVE_IMAGES, "gantry_save_images", Kind::look, &OperatorCall::save_images},
      {Call::GANTRY_COMMIT, "gantry_commit", Kind::change, &OperatorCall::commit},
      {Call::GANTRY_CHECKPOINT, "gantry_checkpoint", Kind::change, &OperatorCall::checkpoint},
      {Call::GANTRY_RESTORE, "gantry_restore", Kind::change, &OperatorCall::restore},
      {Call::GANTRY_COPY_OUT, "gantry_copy_out", Kind::change, &OperatorCall::copy_out},
      {Call::GANTRY_DIFF, "gantry_diff", Kind::look, &OperatorCall::diff},
      {Call::GANTRY_DISK_USAGE, "", Kind::look, &OperatorCall::disk_usage},
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
  if (call_.type() == Call::GANTRY_IMPORT || call_.type() == Call::GANTRY_COPY_IN) {
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
  const int64_t begun_ns = sys::monotonic_ns();
  Response response = co_await (this->*operation->run)();
  if (operation->changes()) audit(response);
  VLOG(operation->changes() ? 1 : 2)
      << name << (audited_id_.empty() ? "" : " ") << audited_id_ << ": " << response.status
      << " after " << (sys::monotonic_ns() - begun_ns) / 1000 << " us";
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
  if (piece.begin != 0) answer_.mutable_read_file()->set_gantry_begin(piece.begin);
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
}  // namespace gantry
