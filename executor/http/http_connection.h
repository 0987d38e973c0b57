// Inside of connection.cc, read_request.cc and write_response.cc: one connection's state, shared by
// its reading half, its writing half and its life. Not a public header.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "executor/http/connection.h"
#include "executor/http/tls_stream.h"

namespace gantry::http {
inline constexpr size_t kReadSize = 16u << 10;
inline constexpr size_t kUncounted = 64u << 10;  // bytes that any request may hold
inline constexpr std::chrono::milliseconds kNoLimit = std::chrono::milliseconds::max();

class HttpConnection final : public Connection,
                             public std::enable_shared_from_this<HttpConnection>,
                             private Exchange,
                             private BodyStream,
                             private ResponseStream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  HttpConnection(Socket socket, Peer peer, Handler& handler, ServerState& server, TlsContext* tls);
  ~HttpConnection() override;

  Co<void> run() override;
  Co<void> refuse() override;
  void set_number(uint64_t number) override { number_ = number; }
  const std::string& client() const override { return client_; }
  Time deadline() const override { return deadline_; }
  void expire() override;
  uint64_t number() const override { return number_; }
  bool is_idle() const override { return idle_; }
  bool is_interruptible() const override { return interruptible_; }

 private:
  // Beast's parser and what it works on. It sees the head and chunked bodies; bodies with a length
  // are read past it, straight to where they belong.
  struct Parser;
  enum class Fill { data, closed, timed_out };
  enum class Next { again, close };

  // read_request.cc
  Co<size_t> read_into(char* data, size_t size, std::chrono::milliseconds limit);
  Co<Fill> fill(std::chrono::milliseconds limit);
  Co<bool> read_head();
  void take_head();
  Co<bool> continue_if_expected();
  Result<size_t> take_chunked(char* data, size_t size);
  Co<bool> read_whole_body();
  Co<bool> read_chunked_body();
  void start_watch();
  Co<void> stop_watch();
  // write_response.cc
  Co<bool> send(std::string_view a, std::string_view b, std::string_view c, bool with_deadline);
  bool keeps_alive() const;
  void append_head(const Response& response, std::string& out) const;
  Co<Next> answer(Response response);
  Co<void> fail(unsigned status, std::string_view text);
  Co<void> linger();
  // connection.cc
  void set_deadline(std::chrono::milliseconds limit);
  Co<bool> shake_hands();
  Co<void> say_farewell();
  Co<Next> serve_one();
  bool hold(size_t bytes);
  void release_all();

  // Exchange
  const Request& request() const override { return request_; }
  const Peer& peer() const override { return peer_; }
  BodyStream* body_stream() override { return streams_body_ ? this : nullptr; }
  Co<Result<void>> hand_over(int fd) override;
  bool takes_descriptors() const override {
    return peer_.credentials && request_.header("Gantry-Hand-Over") != nullptr;
  }
  Co<Result<ResponseStream*>> start_stream(Response head) override;
  void cancel_when_closed() override {
    interruptible_ = true;
    start_watch();
  }
  bool is_closed() override;
  // BodyStream
  Co<Result<std::string_view>> read() override;
  void wait_without_deadline() override { body_limit_ = kNoLimit; }
  // ResponseStream
  Co<Result<void>> write(std::string_view bytes) override;
  Co<Result<void>> finish(Headers trailers) override;

  Socket socket_;
  const std::unique_ptr<TlsStream> tls_;  // null: none
  Peer peer_;
  const std::string client_;
  Handler& handler_;
  ServerState& server_;
  uint64_t number_ = 0;
  Time deadline_ = Time::max();
  bool timed_out_ = false;
  bool idle_ = false;
  size_t held_ = 0;    // bytes, of the client's share
  bool gone_ = false;  // the client closed, or the connection broke

  // The current request.
  std::unique_ptr<Parser> parser_;
  Request request_;
  bool client_keeps_alive_ = false;
  bool takes_chunks_ = false;  // HTTP/1.0 knows none: there the end of the connection ends a body
  bool expects_continue_ = false;
  bool is_chunked_ = false;
  bool streams_body_ = false;
  uint64_t body_left_ = 0;                   // of a body with a length
  std::chrono::milliseconds body_limit_{0};  // between two pieces of a streamed body
  bool body_done_ = false;                   // nothing of it is left on the wire
  std::string piece_;                        // the last piece of a streamed body
  enum class Streaming { none, open, finished } streaming_ = Streaming::none;
  bool interruptible_ = false;
  bool watching_ = false;
  bool stop_watching_ = false;
  Event watch_ended_;
};
}  // namespace gantry::http
