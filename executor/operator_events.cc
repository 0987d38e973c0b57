// OperatorCall: GANTRY_EVENTS.
#include "api/wire/json.h"
#include "api/wire/recordio.h"
#include "executor/operator_api.h"
#include "executor/operator_call.h"
#include "executor/wire_answers.h"

namespace gantry {
using http::Response;
using wire::Field;

namespace {
constexpr int kMostWords = 256;  // of a filter

Result<std::vector<std::string>> words_of(
    const Field& field, const google::protobuf::RepeatedPtrField<std::string>& in) {
  if (in.size() > kMostWords) {
    return wire::invalid(field,
                         cat("has ", in.size(), " entries, at most ", kMostWords, " are accepted"));
  }
  for (int i = 0; i < in.size(); ++i) {
    GANTRY_TRY(wire::check_line(field[i], in.Get(i), 4096));
    if (in.Get(i).empty()) return wire::invalid(field[i], "must not be empty");
  }
  return std::vector<std::string>(in.begin(), in.end());
}

Result<EventOptions> event_options(const wire::agent::Call::GantryEvents& in) {
  const Field field("gantry_events");
  EventOptions out;
  if (in.has_since()) out.since_ns = in.since().nanoseconds();
  if (in.has_until()) out.until_ns = in.until().nanoseconds();
  out.types = GANTRY_TRY(words_of(field / "types", in.types()));
  out.actions = GANTRY_TRY(words_of(field / "actions", in.actions()));
  out.containers = GANTRY_TRY(words_of(field / "containers", in.containers()));
  out.images = GANTRY_TRY(words_of(field / "images", in.images()));
  return out;
}

wire::agent::GantryEvent event_to_wire(const HostEvent& in) {
  using wire::agent::GantryEvent;
  static constexpr std::pair<HostEvent::Kind, GantryEvent::Kind> kKinds[] = {
      {HostEvent::Kind::event, GantryEvent::EVENT},
      {HostEvent::Kind::heartbeat, GantryEvent::HEARTBEAT},
      {HostEvent::Kind::cut_off, GantryEvent::CUT_OFF},
      {HostEvent::Kind::ended, GantryEvent::ENDED}};
  GantryEvent out;
  for (const auto& [kind, wire_kind] : kKinds) {
    if (kind == in.kind) out.set_kind(wire_kind);
  }
  if (!in.message.empty()) out.set_message(in.message);
  if (in.kind != HostEvent::Kind::event) return out;
  out.mutable_time()->set_nanoseconds(in.time_ns);
  out.set_type(in.type);
  out.set_action(in.action);
  if (!in.id.empty()) out.set_id(in.id);
  if (!in.name.empty()) out.set_name(wire::to_valid_utf8(in.name));
  for (const auto& [name, value] : in.attributes) {
    (*out.mutable_attributes())[name] = wire::to_valid_utf8(value);
  }
  return out;
}
}  // namespace

Co<Result<void>> OperatorCall::pump_events(http::ResponseStream& stream, EventStream& events) {
  while (true) {
    const std::optional<HostEvent> event = GANTRY_CO_TRY(co_await events.next());
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
    if (!event) break;
    const std::string record =
        wire::encode_record(encode(negotiated_.answer, event_to_wire(*event)));
    GANTRY_CO_TRY(co_await stream.write(record));
  }
  co_return co_await stream.finish();
}

Co<Response> OperatorCall::events() {
  EventOptions options = GANTRY_CALL_TRY(event_options(call_.gantry_events()));
  auto events = co_await backend_.events(std::move(options));
  if (!events) co_return refusal(events.error());
  auto stream = co_await start_output();
  // What start_stream() came to nothing for needs no words: nobody reads them.
  if (!stream) co_return Response::empty(200);
  // Cut off without a final chunk, the client sees that the stream is not whole.
  (co_await pump_events(**stream, **events)).ignore("the stream's end says it");
  co_return Response::empty(200);
}
}  // namespace gantry
