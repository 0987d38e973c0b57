// OperatorCall: images.
#include "api/wire/json.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;

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

namespace {
Result<oci::ImageConfig> image_config_of(const Field& field,
                                         const wire::agent::Call::GantryImport& in) {
  oci::ImageConfig out;
  out.entrypoint = {in.entrypoint().begin(), in.entrypoint().end()};
  out.cmd = {in.cmd().begin(), in.cmd().end()};
  const Field env = field / "env", volumes = field / "volumes", labels = field / "labels";
  for (int i = 0; i < in.env_size(); ++i) {
    GANTRY_TRY(wire::check_environment(env[i], in.env(i)));
    out.env.push_back(in.env(i));
  }
  for (int i = 0; i < in.volumes_size(); ++i) {
    GANTRY_TRY(wire::check_mount_point(volumes[i], in.volumes(i)));
    out.volumes.push_back(in.volumes(i));
  }
  for (const auto& [name, value] : in.labels()) {
    if (name.empty()) return wire::invalid(labels, "must not have an empty key");
    out.labels[name] = value;
  }
  if (in.has_cwd()) GANTRY_TRY(wire::check_absolute_path(field / "cwd", in.cwd()));
  if (in.has_user()) GANTRY_TRY(wire::check_user(field / "user", in.user()));
  if (in.has_stop_signal()) {
    GANTRY_TRY(wire::parse_signal_name(field / "stop_signal", in.stop_signal()));
  }
  out.working_dir = in.cwd();
  out.user = in.user();
  out.stop_signal = in.stop_signal();
  return out;
}

Result<ImportOptions> import_options_of(const wire::agent::Call::GantryImport& in) {
  const Field field("gantry_import");
  if (in.has_reference()) {
    GANTRY_TRY(wire::check_image_reference(field / "reference", in.reference()));
  }
  ImportOptions out{.reference = in.reference(),
                    .format = static_cast<ImportOptions::Format>(in.format()),
                    .config = {}};
  oci::ImageConfig config = GANTRY_TRY(image_config_of(field, in));
  if (config != oci::ImageConfig()) out.config = std::move(config);
  return out;
}
}  // namespace

namespace {
constexpr size_t kMostRemark = 64u << 10;
constexpr size_t kMostRequestId = 128;

Result<oci::ImageChanges> changes_of(const Field& field,
                                     const wire::agent::Call::GantryCommit::Changes& in) {
  oci::ImageChanges out;
  const auto words = [](const auto& list) {
    return std::vector<std::string>(list.words().begin(), list.words().end());
  };
  if (in.has_entrypoint()) out.entrypoint = words(in.entrypoint());
  if (in.has_cmd()) out.cmd = words(in.cmd());
  const Field env = field / "env", ports = field / "exposed_ports", volumes = field / "volumes";
  for (int i = 0; i < in.env_size(); ++i) {
    GANTRY_TRY(wire::check_environment(env[i], in.env(i)));
    out.env.push_back(in.env(i));
  }
  for (int i = 0; i < in.exposed_ports_size(); ++i) {
    GANTRY_TRY(wire::check_exposed_port(ports[i], in.exposed_ports(i)));
    out.exposed_ports.push_back(in.exposed_ports(i));
  }
  for (int i = 0; i < in.volumes_size(); ++i) {
    GANTRY_TRY(wire::check_mount_point(volumes[i], in.volumes(i)));
    out.volumes.push_back(in.volumes(i));
  }
  for (const auto& [name, value] : in.labels()) {
    if (name.empty()) return wire::invalid(field / "labels", "must not have an empty key");
    out.labels[name] = value;
  }
  if (in.has_user()) {
    GANTRY_TRY(wire::check_user(field / "user", in.user()));
    out.user = in.user();
  }
  if (in.has_cwd()) {
    GANTRY_TRY(wire::check_absolute_path(field / "cwd", in.cwd()));
    out.working_dir = in.cwd();
  }
  if (in.has_stop_signal()) {
    GANTRY_TRY(wire::parse_signal_name(field / "stop_signal", in.stop_signal()));
    out.stop_signal = in.stop_signal();
  }
  return out;
}
}  // namespace

Co<Response> OperatorCall::commit() {
  const auto& in = call_.gantry_commit();
  const Field field("gantry_commit");
  ContainerId id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  if (in.has_reference()) {
    GANTRY_CALL_TRY(wire::check_image_reference(field / "reference", in.reference()));
  }
  GANTRY_CALL_TRY(wire::check_text(field / "author", in.author(), kMostRemark));
  GANTRY_CALL_TRY(wire::check_text(field / "comment", in.comment(), kMostRemark));
  GANTRY_CALL_TRY(wire::check_text(field / "request_id", in.request_id(), kMostRequestId));
  CommitOptions options{.reference = in.reference(),
                        .author = in.author(),
                        .comment = in.comment(),
                        .pause = in.pause(),
                        .changes = GANTRY_CALL_TRY(changes_of(field / "changes", in.changes())),
                        .request_id = in.request_id()};
  const ImageSummary made =
      GANTRY_ANSWER_TRY(co_await backend_.commit(std::move(id), std::move(options)));
  *answer_.mutable_gantry_commit()->mutable_image() = image_to_wire(made);
  co_return answer(Answer::GANTRY_COMMIT);
}

Co<Response> OperatorCall::import() {
  if (!call_.has_gantry_import()) co_return invalid_call(wire::expecting("gantry_import"));
  auto options = GANTRY_CALL_TRY(import_options_of(call_.gantry_import()));
  audited_id_ = options.reference;
  const auto images =
      GANTRY_ANSWER_TRY(co_await backend_.import(std::move(options), *exchange_.body_stream()));
  answer_.mutable_gantry_import();
  for (const ImageSummary& image : images) {
    *answer_.mutable_gantry_import()->add_images() = image_to_wire(image);
    for (const std::string& name : image.refused_names) {
      answer_.mutable_gantry_import()->add_refused_names(wire::to_valid_utf8(name));
    }
  }
  co_return answer(Answer::GANTRY_IMPORT);
}
}  // namespace gantry
