// OperatorCall: files of a container's root, and calls whose body is a tar.
#include <glog/logging.h>

#include "api/wire/json.h"
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
  auto files = GANTRY_ANSWER_TRY(
      co_await backend_.copy_out(std::move(id), {.path = in.path(),
                                                 .one_file_system = in.one_file_system(),
                                                 .no_devices = in.no_devices(),
                                                 .sparse = in.sparse()}));
  co_return co_await send_tar(std::move(files));
}

Co<Response> OperatorCall::save_images() {
  const auto& in = call_.gantry_save_images();
  const Field call("gantry_save_images"), field = call / "references";
  if (in.references_size() == 0) co_return invalid_call(wire::invalid(field, "must not be empty"));
  std::vector<std::string> references;
  for (int i = 0; i < in.references_size(); ++i) {
    GANTRY_CALL_TRY(wire::check_image_reference(field[i], in.references(i)));
    references.push_back(in.references(i));
  }
  co_return co_await send_tar(
      GANTRY_ANSWER_TRY(co_await backend_.save_images(std::move(references))));
}

Co<Response> OperatorCall::send_tar(std::unique_ptr<TarStream> files) {
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
  if (stream && !piece && !piece.error().is(Errc::cancelled)) {
    LOG(WARNING) << Call::Type_Name(call_.type()) << " " << audited_id_
                 << " broke off: " << piece.error().to_string();
  }
  if (stream && piece && piece->empty()) {
    http::Headers trailers;
    if (files->left_out() != 0) trailers.emplace_back("Gantry-Left-Out", cat(files->left_out()));
    (co_await (*stream)->finish(std::move(trailers))).ignore("nobody reads it");
  }
  (co_await uncancellable(files->close())).ignore("nothing is left of it");
  co_return done();
}

Co<Response> OperatorCall::diff() {
  const Field field("gantry_diff");
  ContainerId id = GANTRY_CALL_TRY(id_of(field, call_.gantry_diff().container_id()));
  auto changes = GANTRY_ANSWER_TRY(co_await backend_.diff(std::move(id)));
  co_return co_await answer_beside(Answer::GANTRY_DIFF,
                                   [changes = std::move(changes)](Answer& out) {
                                     using Diff = Answer::GantryDiffResponse;
                                     auto* list = out.mutable_gantry_diff();
                                     for (const FileChange& change : changes) {
                                       auto* item = list->add_changes();
                                       item->set_kind(change.kind == 'A'   ? Diff::ADDED
                                                      : change.kind == 'D' ? Diff::DELETED
                                                                           : Diff::CHANGED);
                                       item->set_path(wire::to_valid_utf8(change.path));
                                     }
                                   });
}

Co<Response> OperatorCall::disk_usage() {
  auto used = GANTRY_ANSWER_TRY(co_await backend_.disk_usage());
  co_return co_await answer_list(Answer::GANTRY_DISK_USAGE, "gantry_disk_usage", std::move(used),
                                 [](Answer& piece, const WrittenSpace& space) {
                                   auto* item = piece.mutable_gantry_disk_usage()->add_containers();
                                   item->mutable_container_id()->set_value(space.id.value());
                                   item->set_written_bytes(space.bytes);
                                   item->set_written_inodes(space.inodes);
                                 });
}
}  // namespace gantry
