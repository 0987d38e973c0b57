// The calls of the operator API whose request or answer is a stream.
#include <csignal>

#include "api/wire/json.h"
#include "api/wire/recordio.h"
#include "base/str.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;
using wire::agent::ProcessIO;

namespace {
constexpr size_t kMaxRecord = 16u << 20;
// Mesos' http_heartbeat_interval.
constexpr std::chrono::seconds kHeartbeat{30};

ProcessIO data_message(OutputChunk chunk) {
  ProcessIO out;
  out.set_type(ProcessIO::DATA);
  out.mutable_data()->set_type(chunk.source == OutputChunk::Source::err ? ProcessIO::Data::STDERR
                                                                        : ProcessIO::Data::STDOUT);
  out.mutable_data()->set_data(std::move(chunk.data));
  if (chunk.offset) out.mutable_data()->set_gantry_offset(*chunk.offset);
  if (chunk.missed != 0) out.mutable_data()->set_gantry_missed(chunk.missed);
  if (chunk.length != 0) out.mutable_data()->set_gantry_length(chunk.length);
  if (chunk.time_ns) out.mutable_data()->mutable_gantry_time()->set_nanoseconds(*chunk.time_ns);
  return out;
}
ProcessIO control_message(ProcessIO::Control::Type type) {
  ProcessIO out;
  out.set_type(ProcessIO::CONTROL);
  out.mutable_control()->set_type(type);
  return out;
}
ProcessIO wait_message(std::string reason) {
  ProcessIO out = control_message(ProcessIO::Control::GANTRY_WAITS);
  out.mutable_control()->set_gantry_reason(std::move(reason));
  return out;
}
ProcessIO heartbeat_message() {
  ProcessIO out = control_message(ProcessIO::Control::HEARTBEAT);
  out.mutable_control()->mutable_heartbeat()->mutable_interval()->set_nanoseconds(
      std::chrono::nanoseconds(kHeartbeat).count());
  return out;
}
ProcessIO message_of(OutputChunk chunk) {
  if (!chunk.data.empty() || chunk.length != 0) return data_message(std::move(chunk));
  return chunk.waits.empty() ? heartbeat_message() : wait_message(std::move(chunk.waits));
}
// What start_stream() came to nothing for needs no words: nobody reads them.
Response nobody() { return Response::empty(200); }
}  // namespace

OutputOptions output_options(const wire::agent::Call::GantryOutput& in) {
  OutputOptions out{.from_start = in.from_start(),
                    .follow = in.follow(),
                    .tail_lines = {},
                    .since_ns = {},
                    .until_ns = {},
                    .stdout_offset = {},
                    .stderr_offset = {},
                    .stdout_wanted = !in.no_stdout(),
                    .stderr_wanted = !in.no_stderr(),
                    .says_waits = in.offsets() || in.report_exit(),
                    .timestamps = in.timestamps(),
                    .offsets = in.offsets(),
                    .heartbeat = kHeartbeat};
  if (in.has_stdout_offset()) out.stdout_offset = in.stdout_offset();
  if (in.has_stderr_offset()) out.stderr_offset = in.stderr_offset();
  if (in.has_tail_lines()) out.tail_lines = in.tail_lines();
  if (in.has_since()) out.since_ns = in.since().nanoseconds();
  if (in.has_until()) {
    out.until_ns = in.until().nanoseconds();
    out.follow = false;
  }
  return out;
}

// ---- Output ----------------------------------------------------------------------------------

Co<Result<void>> OperatorCall::send(http::ResponseStream& stream, const ProcessIO& message) {
  // A view into it must outlive the write.
  const std::string record = wire::encode_record(encode(negotiated_.answer, message));
  co_return co_await stream.write(record);
}

Co<Result<http::ResponseStream*>> OperatorCall::start_output() {
  co_return co_await exchange_.start_stream(
      {200,
       "application/recordio",
       {},
       {{"Message-Content-Type", std::string(content_type(negotiated_.answer))}}});
}

Co<Result<void>> OperatorCall::pump(http::ResponseStream& stream, ContainerId id,
                                    OutputStream& output, ReportExit report) {
  while (true) {
    auto chunk = GANTRY_CO_TRY(co_await output.next());
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
    if (!chunk) break;
    GANTRY_CO_TRY(co_await send(stream, message_of(std::move(*chunk))));
  }
  if (report == ReportExit::yes) {
    const ExitOutcome outcome = GANTRY_CO_TRY(co_await backend_.wait(std::move(id)));
    ProcessIO message = control_message(ProcessIO::Control::GANTRY_EXIT);
    *message.mutable_control()->mutable_gantry_exit() = exit_to_wire(outcome);
    GANTRY_CO_TRY(co_await send(stream, message));
  }
  co_return co_await stream.finish();
}

Co<Response> OperatorCall::attach_output() {
  const auto& in = call_.attach_container_output();
  auto id = id_of(Field("attach_container_output"), in.container_id());
  if (!id) co_return invalid_call(id.error());
  auto output = co_await backend_.attach_output(*id, output_options(in.gantry_output()));
  if (!output) {
    if (output.error().is(Errc::not_found)) {
      co_return Response::text(404, cat("Container ", id->to_string(), " cannot be found"));
    }
    co_return refusal(output.error());
  }
  if (exchange_.takes_descriptors()) {
    // Two or none, so that they are told apart; one that there is not is the other.
    auto [out, err] = (*output)->hand_over();
    for (int fd : {out < 0 ? err : out, err < 0 ? out : err}) {
      if (fd >= 0 && !co_await exchange_.hand_over(fd)) co_return nobody();
    }
  }
  auto stream = co_await start_output();
  if (!stream) co_return nobody();
  const bool report = in.gantry_output().report_exit();
  // Cut off without a final chunk, the client sees that the stream is not whole.
  (co_await pump(**stream, *id, **output, report ? ReportExit::yes : ReportExit::no))
      .ignore("the stream's end says it");
  co_return nobody();
}

Co<Response> OperatorCall::run_container() {
  auto* in = call_.mutable_gantry_run();
  auto id = id_of(Field("gantry_run") / "launch", in->launch().container_id());
  if (!id) co_return invalid_call(id.error());
  Response launched =
      co_await launch(Field("gantry_run") / "launch", std::move(*in->mutable_launch()));
  // 202: somebody has launched it under this id already; then it is not ours to follow.
  if (launched.status == 202) {
    co_return Response::text(409, cat("Container ", id->to_string(), " exists already"));
  }
  if (launched.status != 200) co_return launched;
  OutputOptions options = output_options(in->output());
  options.from_start = options.is_whole = options.says_waits = true;
  auto output = co_await backend_.attach_output(*id, options);
  if (!output) co_return refusal(output.error());
  auto stream = co_await start_output();
  if (!stream) co_return nobody();
  auto started = co_await send(**stream, control_message(ProcessIO::Control::GANTRY_STARTED));
  if (started) {
    (co_await pump(**stream, *id, **output, ReportExit::yes)).ignore("the stream's end says it");
  }
  co_return nobody();
}

// A launch that lives as long as its connection.
Co<Response> OperatorCall::launch_session() {
  auto* in = call_.mutable_launch_nested_container_session();
  const Field field("launch_nested_container_session");
  if (!in->container_id().has_parent()) {
    co_return invalid_call(wire::expecting("launch_nested_container_session.container_id.parent"));
  }
  auto id = id_of(field, in->container_id());
  if (!id) co_return invalid_call(id.error());
  Call::LaunchContainer request;
  request.mutable_container_id()->Swap(in->mutable_container_id());
  if (in->has_command()) request.mutable_command()->Swap(in->mutable_command());
  if (in->has_container()) request.mutable_container()->Swap(in->mutable_container());
  Response launched = co_await launch(field, std::move(request));
  if (launched.status != 200) co_return launched;
  OutputOptions options{.from_start = true, .is_whole = true, .heartbeat = kHeartbeat};
  auto output = co_await backend_.attach_output(*id, options);
  if (!output) co_return refusal(output.error());
  auto stream = co_await start_output();
  if (stream) {
    (co_await pump(**stream, *id, **output, ReportExit::no)).ignore("the stream's end says it");
  }
  // However it ended: nothing of the session stays behind. Already ended is fine.
  (co_await uncancellable(backend_.stop(*id, std::chrono::seconds(0), SIGKILL)))
      .ignore("it may have ended by itself");
  co_return nobody();
}

// ---- Input -----------------------------------------------------------------------------------

namespace {
// The next record of a streamed body; nullopt at its end.
Co<Result<std::optional<std::string>>> next_record(http::BodyStream& body,
                                                   wire::RecordDecoder& decoder) {
  std::string record;
  while (true) {
    if (GANTRY_CO_TRY(decoder.next(record)) == wire::RecordDecoder::Got::record) {
      co_return std::optional(std::move(record));
    }
    const std::string_view piece = GANTRY_CO_TRY(co_await body.read());
    if (piece.empty()) {
      if (decoder.is_at_border()) co_return std::optional<std::string>();
      co_return Error(Errc::corrupt, "recordio: the stream ends inside a record");
    }
    decoder.feed(piece);
  }
}
}  // namespace

Co<Result<std::unique_ptr<InputSink>>> OperatorCall::open_input(const Call& first) {
  const auto& in = first.attach_container_input();
  const ContainerId id = GANTRY_CO_TRY(id_of(Field("attach_container_input"), in.container_id()));
  co_return co_await backend_.attach_input(id);
}

Co<Result<void>> OperatorCall::take_input(InputSink& sink, const Call& call) {
  using Input = Call::AttachContainerInput;
  const Field field("attach_container_input");
  const auto& in = call.attach_container_input();
  if (call.type() != Call::ATTACH_CONTAINER_INPUT || in.type() != Input::PROCESS_IO ||
      !in.has_process_io()) {
    co_return wire::invalid(field / "type", "every record after the first must be PROCESS_IO");
  }
  const ProcessIO& io = in.process_io();
  if (io.type() == ProcessIO::DATA) {
    if (io.data().type() != ProcessIO::Data::STDIN) {
      co_return wire::invalid(field / "process_io" / "data" / "type", "must be STDIN");
    }
    // Nothing is the end of the input, as for Mesos.
    if (io.data().data().empty()) co_return co_await sink.close();
    co_return co_await sink.write(io.data().data(), [this] { return exchange_.is_closed(); });
  }
  if (io.type() != ProcessIO::CONTROL) {
    co_return wire::invalid(field / "process_io" / "type", "must be DATA or CONTROL");
  }
  if (io.control().type() == ProcessIO::Control::HEARTBEAT) co_return Result<void>();
  if (io.control().type() != ProcessIO::Control::TTY_INFO) {
    co_return wire::invalid(field / "process_io" / "control" / "type",
                            "must be TTY_INFO or HEARTBEAT");
  }
  const auto& size = io.control().tty_info().window_size();
  if (!io.control().tty_info().has_window_size() || size.rows() > 65535 || size.columns() > 65535) {
    co_return wire::invalid(field / "process_io" / "control" / "tty_info" / "window_size",
                            "must be present, rows and columns at most 65535");
  }
  co_return co_await sink.resize(static_cast<uint16_t>(size.rows()),
                                 static_cast<uint16_t>(size.columns()));
}

Co<Response> OperatorCall::run_input() {
  auto refuse = [](const Error& error) {
    // What the client wrote wrongly, as opposed to what cannot be done.
    const bool malformed = error.is(Errc::invalid) || error.is(Errc::corrupt);
    return malformed ? invalid_call(error) : refusal(error);
  };
  wire::RecordDecoder decoder(kMaxRecord);
  http::BodyStream* body = exchange_.body_stream();
  GANTRY_CHECK(body != nullptr);
  auto record = co_await next_record(*body, decoder);
  if (!record) co_return refuse(record.error());
  if (!*record) {
    co_return invalid_call(Error(Errc::invalid, "Received EOF while reading request body"));
  }
  if (auto decoded = decode(negotiated_.request, **record, call_); !decoded) {
    co_return Response::text(400, decoded.error().to_string());
  }
  if (!call_.has_type()) co_return invalid_call(wire::expecting("type"));
  if (call_.type() != Call::ATTACH_CONTAINER_INPUT) {
    co_return Response::text(
        415, cat("Streaming request is not supported for ", Call::Type_Name(call_.type())));
  }
  if (!call_.has_attach_container_input()) {
    co_return invalid_call(wire::expecting("attach_container_input"));
  }
  const auto& first = call_.attach_container_input();
  if (first.type() != Call::AttachContainerInput::CONTAINER_ID || !first.has_container_id()) {
    co_return invalid_call(wire::expecting("attach_container_input.container_id"));
  }
  auto sink = co_await open_input(call_);
  if (!sink) {
    if (sink.error().is(Errc::not_found)) {
      co_return Response::text(404, cat("Container ", audited_id_, " cannot be found"));
    }
    co_return refuse(sink.error());
  }
  if (first.gantry_hand_over()) {
    auto handed = co_await exchange_.hand_over((*sink)->descriptor());
    if (!handed) co_return refuse(handed.error());
  }
  body->wait_without_deadline();
  exchange_.cancel_when_closed();
  while (true) {
    record = co_await next_record(*body, decoder);
    if (!record) co_return refuse(record.error());
    if (!*record) co_return done();
    Call next;
    if (auto decoded = decode(negotiated_.request, **record, next); !decoded) {
      co_return Response::text(400, decoded.error().to_string());
    }
    auto taken = co_await take_input(**sink, next);
    if (!taken) co_return refuse(taken.error());
  }
}
}  // namespace gantry
