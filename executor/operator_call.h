// Inside of the operator API: one call on its way. Not a public header.
#pragma once

#include <memory>
#include <string>

#include "api/proto/agent.pb.h"
#include "api/wire/parse.h"
#include "base/co.h"
#include "executor/agent_state.h"
#include "executor/gradual_answer.h"
#include "executor/http/exchange.h"
#include "executor/negotiation.h"
#include "executor/operator_backend.h"
#include "executor/pending_launches.h"

namespace gantry {
// Less than a millisecond's work.
inline constexpr size_t kListedAtOnce = 32;

// Lifetime: of OperatorApi::handle.
class OperatorCall {
 public:
  using Call = wire::agent::Call;
  using Answer = wire::agent::Response;

  OperatorCall(http::Exchange& exchange, OperatorBackend& backend, AgentState& agent,
               PendingLaunches& pending, Negotiated negotiated)
      : exchange_(exchange),
        backend_(backend),
        agent_(agent),
        pending_(pending),
        negotiated_(negotiated) {}

  // The whole body is there.
  Co<http::Response> run();
  // ATTACH_CONTAINER_INPUT: a stream of calls.
  Co<http::Response> run_input();
  // GANTRY_IMPORT, GANTRY_COPY_IN: the call in a header, the tar as the body.
  Co<http::Response> run_with_tar();

 private:
  struct Operation;
  static const Operation* find_operation(Call::Type type);
  http::Response check_streaming(const Operation& operation) const;

  Co<http::Response> get_health();
  Co<http::Response> get_version();
  Co<http::Response> get_metrics();
  Co<http::Response> get_containers();
  // operator_state.cc
  Co<http::Response> get_flags();
  Co<http::Response> get_logging_level();
  Co<http::Response> set_logging_level();
  Co<http::Response> get_agent();
  Co<http::Response> get_frameworks();
  Co<http::Response> get_executors();
  Co<http::Response> get_tasks();
  Co<http::Response> get_operations();
  Co<http::Response> get_state();
  Co<http::Response> list_files();
  Co<http::Response> read_file();
  Co<http::Response> launch_container();
  Co<http::Response> launch_nested_container();
  Co<http::Response> wait_container();
  Co<http::Response> wait_nested_container();
  Co<http::Response> kill_container();
  Co<http::Response> kill_nested_container();
  Co<http::Response> remove_container();
  Co<http::Response> remove_nested_container();
  Co<http::Response> prune_images();
  Co<http::Response> list();
  Co<http::Response> inspect();
  Co<http::Response> create();
  Co<http::Response> start();
  Co<http::Response> update();
  Co<http::Response> pause();
  Co<http::Response> resume();
  Co<http::Response> stop();
  Co<http::Response> stats();
  Co<http::Response> images();
  Co<http::Response> remove_image();
  Co<http::Response> tag_image();
  Co<http::Response> inspect_image();
  Co<http::Response> import();
  Co<http::Response> copy_out();
  Co<http::Response> copy_in();
  Co<http::Response> save_images();
  Co<http::Response> commit();
  Co<http::Response> diff();
  Co<http::Response> disk_usage();
  Co<http::Response> checkpoint();
  Co<http::Response> restore();
  Co<http::Response> doctor();
  Co<http::Response> shutdown();
  Co<http::Response> upgrade();
  Co<http::Response> attach_output();
  Co<http::Response> launch_session();
  Co<http::Response> run_container();
  Co<http::Response> events();

  // To its end; what is cut off says so by having none.
  Co<http::Response> send_tar(std::unique_ptr<TarStream> files);
  enum class Begin { now, later };
  Co<http::Response> launch(wire::Field field, Call::LaunchContainer request,
                            Begin begin = Begin::now);
  Co<http::Response> kill(ContainerId id, int signal);
  Co<http::Response> remove(ContainerId id, Force force);
  // Sends a container's output until its end or the client's. `exit`: then how it ended.
  enum class ReportExit { no, yes };
  Co<Result<void>> pump(http::ResponseStream& stream, ContainerId id, OutputStream& output,
                        ReportExit report);
  Co<Result<void>> send(http::ResponseStream& stream, const wire::agent::ProcessIO& message);
  Co<Result<http::ResponseStream*>> start_output();
  Co<Result<void>> pump_events(http::ResponseStream& stream, EventStream& events);
  // One record of ATTACH_CONTAINER_INPUT after the first.
  Co<Result<void>> take_input(InputSink& sink, const Call& call);
  Co<Result<std::unique_ptr<InputSink>>> open_input(const Call& first);

  // The id of a call's container_id; remembered for the audit log.
  Result<ContainerId> id_of(const wire::Field& field, const wire::ContainerID& in);
  http::Response answer(Answer::Type type);
  // The same, made (`fill(Answer&)`) and encoded beside the loop: for what may be large.
  template <class Fill>
  Co<http::Response> answer_beside(Answer::Type type, Fill fill) {
    answer_.set_type(type);
    co_return co_await offload([this, fill = std::move(fill)] {
      fill(answer_);
      return gantry::answer(negotiated_.answer, answer_);
    });
  }
  // `add(Answer& piece, item)` for each; the loop is given back every so many.
  template <class Items, class Add>
  Co<http::Response> answer_list(Answer::Type type, std::string_view field, Items items, Add add) {
    GradualAnswer out(negotiated_.answer, type, field);
    Answer piece;
    size_t count = 0;
    for (const auto& item : items) {
      add(piece, item);
      if (++count % kListedAtOnce != 0 && count != items.size()) continue;
      out.add(piece);
      piece.Clear();
      co_await asio::post(asio::use_awaitable);
    }
    co_return out.finish();
  }
  http::Response done() { return http::Response::empty(200); }
  void audit(const http::Response& response);

  http::Exchange& exchange_;
  OperatorBackend& backend_;
  AgentState& agent_;
  PendingLaunches& pending_;
  const Negotiated negotiated_;
  Call call_;
  Answer answer_;
  std::string audited_id_;
};

// "Failed to validate agent::Call: …"
http::Response invalid_call(const Error& error);
// Asked for now; what was accepted once stays so on a host with fewer.
Result<void> check_host_cpus(const wire::Field& field, const wire::GantrySpec::Resources& in);
OutputOptions output_options(const wire::agent::Call::GantryOutput& in);

// Coroutine early return: the value of a Result, or the answer that its error becomes.
#define GANTRY_ANSWER_TRY(...) \
  GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), co_return, refusal, __VA_ARGS__)
// The same for what is wrong with the call itself.
#define GANTRY_CALL_TRY(...) \
  GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), co_return, invalid_call, __VA_ARGS__)
}  // namespace gantry
