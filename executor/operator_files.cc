// OperatorCall: files of a container's root, and calls whose body is a tar.
#include "api/wire/validate.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"

namespace gantry {
using http::Response;
using wire::Field;

Co<Response> OperatorCall::run_with_tar() {
  const std::string* header = exchange_.request().header("Gantry-Call");
  if (header == nullptr) {
    co_return Response::text(400, "Expecting 'Gantry-Call' to be present: the call, in JSON");
  }
  if (auto decoded = decode(Encoding::json, *header, call_); !decoded) {
    co_return Response::text(400, cat("Gantry-Call: ", decoded.error().to_string()));
  }
  if (!call_.has_type()) co_return invalid_call(wire::expecting("type"));
  if (call_.type() != Call::GANTRY_IMPORT && call_.type() != Call::GANTRY_COPY_IN) {
    co_return Response::text(415,
                             cat("A tar is not supported for ", Call::Type_Name(call_.type())));
  }
  Response response = call_.type() == Call::GANTRY_IMPORT ? co_await import() : co_await copy_in();
  audit(response);
  co_return response;
}

Co<Response> OperatorCall::copy_in() {
  if (!call_.has_gantry_copy_in()) co_return invalid_call(wire::expecting("gantry_copy_in"));
  const auto& in = call_.gantry_copy_in();
  const Field field("gantry_copy_in");
  ContainerId id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  GANTRY_CALL_TRY(wire::check_absolute_path(field / "path", in.path()));
  const CopiedIn copied = GANTRY_ANSWER_TRY(co_await backend_.copy_in(
      std::move(id), {.path = in.path(), .contents = in.contents(), .owners = in.owners()},
      *exchange_.body_stream()));
  answer_.mutable_gantry_copy_in()->set_entries(copied.entries);
  answer_.mutable_gantry_copy_in()->set_bytes(copied.bytes);
  co_return answer(Answer::GANTRY_COPY_IN);
}

Co<Response> OperatorCall::copy_out() {
  const auto& in = call_.gantry_copy_out();
  const Field field("gantry_copy_out");
  ContainerId id = GANTRY_CALL_TRY(id_of(field, in.container_id()));
  GANTRY_CALL_TRY(wire::check_absolute_path(field / "path", in.path()));
  auto files = GANTRY_ANSWER_TRY(co_await backend_.copy_out(
      std::move(id),
      {.path = in.path(), .one_file_system = in.one_file_system(), .no_devices = in.no_devices()}));
  Result<std::string> piece = co_await files->next();
  if (!piece) {
    (co_await files->close()).ignore("the first error counts");
    co_return refusal(piece.error());
  }
  auto stream = co_await exchange_.start_stream({200, "application/x-tar", {}, {}});
  while (stream && piece && !piece->empty()) {
    if (!co_await (*stream)->write(*piece)) break;
    piece = co_await files->next();
  }
  // Without its end the client sees that the tar is not whole.
  if (stream && piece && piece->empty()) (co_await (*stream)->finish()).ignore("nobody reads it");
  (co_await uncancellable(files->close())).ignore("nothing is left of it");
  co_return done();
}
}  // namespace gantry
