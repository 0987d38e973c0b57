// What a client may send to the server, heads, bodies and chunks, whole or in two pieces: it is
// answered or refused, the connection ends, and nothing of it reaches a handler unbounded.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/co.h"
#include "executor/http/connection.h"

namespace {
using namespace gantry;
using namespace gantry::http;

class Echo final : public Handler {
 public:
  Co<Response> handle(Exchange& exchange) override {
    std::string body = exchange.request().body;
    if (BodyStream* stream = exchange.body_stream()) {
      for (;;) {
        auto piece = co_await stream->read();
        if (!piece || piece->empty()) break;
        body.append(*piece);
      }
    }
    if (body.size() > (1u << 20)) __builtin_trap();
    co_return Response::text(200, std::move(body));
  }
};

class State final : public ServerState {
 public:
  State() : ServerState({.header_bytes = 4096, .body_bytes = 4096}) {}
  void deadline_changed(Time) override {}
  void cancel(uint64_t) override {}
  bool hold(const std::string&, size_t bytes) override {
    held += bytes;
    return true;
  }
  void release(const std::string&, size_t bytes) override { held -= bytes; }
  void request_began() override { ++active; }
  void request_ended() override { --active; }
  void handshake_failed() override {}
  bool is_draining() const override { return false; }
  std::string_view date() override { return "Thu, 01 Jan 1970 00:00:00 GMT"; }
  int active = 0;
  size_t held = 0;
};

void write_some(int fd, std::string_view bytes) {
  (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), std::min<size_t>(size, 32768));
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return 0;
  asio::io_context loop(1);
  Echo handler;
  State state;
  auto connection =
      make_connection(loop.get_executor(), UniqueFd(pair[0]), AF_UNIX, Peer(), handler, state);
  if (!connection) __builtin_trap();
  bool is_over = false;
  asio::co_spawn(
      loop, [](std::shared_ptr<Connection> c) -> Co<void> { co_await c->run(); }(*connection),
      [&](std::exception_ptr e) {
        if (e) __builtin_trap();
        is_over = true;
      });
  const size_t first = bytes.empty() ? 0 : static_cast<uint8_t>(bytes.back()) % bytes.size();
  write_some(pair[1], bytes.substr(0, first));
  loop.poll();
  write_some(pair[1], bytes.substr(first));
  ::shutdown(pair[1], SHUT_WR);
  loop.restart();
  // Answers that nobody reads fill the socket: then its end ends it.
  loop.run_for(std::chrono::milliseconds(200));
  ::close(pair[1]);
  loop.restart();
  loop.run_for(std::chrono::seconds(5));
  if (!is_over || state.active != 0 || state.held != 0) __builtin_trap();
  return 0;
}
