// Inside of the HTTP server: one client's connection. Not a public header.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

#include <chrono>
#include <memory>
#include <string>

#include "base/co.h"
#include "executor/http/exchange.h"
#include "executor/http/server.h"

namespace gantry::http {
using Time = std::chrono::steady_clock::time_point;

// What the connections of a server share.
class ServerState {
 public:
  virtual ~ServerState() = default;
  // A connection's deadline became `deadline`; expire() is called on it once that has passed.
  virtual void deadline_changed(Time deadline) = 0;
  // Cancels the chain of coroutines of connection `number`.
  virtual void cancel(uint64_t number) = 0;
  virtual void request_began() = 0;
  virtual void request_ended() = 0;
  virtual bool is_draining() const = 0;
  // The value of a Date header, for now.
  virtual std::string_view date() = 0;
  const ServerLimits& limits() const { return limits_; }

 protected:
  explicit ServerState(ServerLimits limits) : limits_(std::move(limits)) {}
  ServerLimits limits_;
};

// One connection, from accept to close. Lifetime: its own coroutine and a pending read hold it.
class Connection final : public std::enable_shared_from_this<Connection>,
                         private Exchange,
                         private BodyStream,
                         private ResponseStream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  Connection(Socket socket, Peer peer, Handler& handler, ServerState& server);
  ~Connection() override;

  // Serves requests until either side is done.
  Co<void> run();
  // What ServerState::cancel calls this chain; set before run() begins.
  void set_number(uint64_t number) { number_ = number; }
  // Answers one 503 instead, for a client too many.
  Co<void> refuse();

  Time deadline() const { return deadline_; }
  void expire();
  // Waiting for a request: nothing is lost by closing.
  bool is_idle() const { return idle_; }

 private:
  enum class Fill { data, closed, timed_out };
  enum class Next { again, close };
  struct Parser;

  Co<Next> serve_one();
  Co<bool> read_head();
  Co<bool> read_whole_body();
  Co<bool> read_chunked_body();
  Co<Fill> fill(std::chrono::milliseconds limit);
  Co<size_t> read_into(char* data, size_t size, std::chrono::milliseconds limit);
  Co<bool> send(std::string_view a, std::string_view b, std::string_view c, bool with_deadline);
  Co<bool> continue_if_expected();
  Co<Next> answer(Response response);
  Co<void> fail(unsigned status, std::string_view text);
  Co<void> linger();
  void take_head();
  void append_head(const Response& response, std::string& out) const;
  Result<size_t> take_chunked(char* data, size_t size);
  void set_deadline(std::chrono::milliseconds limit);
  void start_watch();
  Co<void> stop_watch();
  bool keeps_alive() const;

  // Exchange
  const Request& request() const override { return request_; }
  const Peer& peer() const override { return peer_; }
  BodyStream* body_stream() override { return streams_body_ ? this : nullptr; }
  Co<Result<ResponseStream*>> start_stream(Response head) override;
  void cancel_when_closed() override { start_watch(); }
  // BodyStream
  Co<Result<std::string_view>> read() override;
  // ResponseStream
  Co<Result<void>> write(std::string_view bytes) override;
  Co<Result<void>> finish() override;

  Socket socket_;
  const Peer peer_;
  Handler& handler_;
  ServerState& server_;
  uint64_t number_ = 0;
  Time deadline_ = Time::max();
  bool timed_out_ = false;
  bool idle_ = false;
  bool gone_ = false;  // the client closed, or the connection broke

  // The current request.
  std::unique_ptr<Parser> parser_;
  Request request_;
  bool expects_continue_ = false;
  bool is_chunked_ = false;
  bool streams_body_ = false;
  uint64_t body_left_ = 0;  // of a body with a length
  bool body_done_ = false;  // nothing of it is left on the wire
  std::string piece_;       // the last piece of a streamed body
  enum class Streaming { none, open, finished } streaming_ = Streaming::none;
  bool watching_ = false;
  bool stop_watching_ = false;
  Event watch_ended_;
};
}  // namespace gantry::http
