// OperatorCall: changes to what is there, containers and images.
#include <unistd.h>

#include "api/wire/json.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;

Co<Response> OperatorCall::start() {
  ContainerId id =
      GANTRY_CALL_TRY(id_of(Field("gantry_start"), call_.gantry_start().container_id()));
  const auto& in = call_.gantry_start();
  const Readers readers = in.await_reader() ? Readers::come : Readers::none;
  std::optional<int64_t> after_end_ns;
  if (in.has_after_end()) after_end_ns = in.after_end().nanoseconds();
  auto started = co_await backend_.start(std::move(id), readers, after_end_ns);
  if (started || started.error().is(Errc::not_found) || started.error().is(Errc::busy)) {
    GANTRY_ANSWER_TRY(std::move(started));
    co_return done();
  }
  Response response = Response::text(400, started.error().to_string());
  response.headers.emplace_back("Gantry-Exit-Status",
                                cat(exit_status_of_failed_launch(started.error())));
  co_return response;
}

Result<void> check_host_cpus(const Field& field, const wire::GantrySpec::Resources& in) {
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (in.cpus() <= static_cast<double>(cpus)) return {};
  return wire::invalid(field / "cpus", cat("must be 0.01 to ", cpus, ": this host has ", cpus,
                                           cpus == 1 ? " CPU" : " CPUs"));
}

Co<Response> OperatorCall::update() {
  const auto& in = call_.gantry_update();
  const Field field("gantry_update");
  const ContainerId id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  GANTRY_CALL_TRY(check_host_cpus(field / "gantry_spec" / "resources", in.resources()));
  const ContainerDetails now = GANTRY_ANSWER_TRY(co_await backend_.inspect(id));
  const bool only_renames = in.has_name() && !in.has_resources() && !in.has_restart();
  if (only_renames && in.name() == now.summary.name) {
    co_return refusal(Error(Errc::conflict, cat("container '", id.to_string(), "' is called '",
                                                in.name(), "' already")));
  }
  ContainerSpec wanted = GANTRY_CALL_TRY(wire::parse_update(now.request_bytes, in));
  GANTRY_ANSWER_TRY(co_await backend_.update(id, std::move(wanted)));
  co_return done();
}

Co<Response> OperatorCall::tag_image() {
  const auto& in = call_.gantry_tag_image();
  const Field field("gantry_tag_image");
  GANTRY_CALL_TRY(wire::check_image_reference(field / "reference", in.reference()));
  GANTRY_CALL_TRY(wire::check_image_reference(field / "tag", in.tag()));
  audited_id_ = in.reference();
  GANTRY_ANSWER_TRY(co_await backend_.tag_image(in.reference(), in.tag()));
  co_return done();
}

Co<Response> OperatorCall::inspect_image() {
  const auto& in = call_.gantry_inspect_image();
  GANTRY_CALL_TRY(
      wire::check_image_reference(Field("gantry_inspect_image") / "reference", in.reference()));
  const ImageDetails found = GANTRY_ANSWER_TRY(co_await backend_.inspect_image(in.reference()));
  auto* out = answer_.mutable_gantry_inspect_image();
  *out->mutable_image() = image_to_wire(found.summary);
  out->set_config(wire::to_valid_utf8(found.config));
  for (const auto& [digest, size] : found.layers) {
    auto* layer = out->add_layers();
    layer->set_digest(digest);
    layer->set_size_bytes(size);
  }
  co_return answer(Answer::GANTRY_INSPECT_IMAGE);
}
}  // namespace gantry
