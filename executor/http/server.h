// HTTP/1.1 over listening sockets (unix, loopback TCP): keep-alive, pipelined requests answered in
// order, Expect: 100-continue, bodies whole or streamed, responses whole or chunked.
//
// Threads: loop only. The caller owns the handlers, which must outlive the server; close() must
// have run before it goes. Failure: a broken or slow client costs its own connection, nothing else.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "executor/http/exchange.h"
#include "executor/http/tls.h"

namespace gantry::http {
struct ServerLimits {
  size_t header_bytes = 64u << 10;
  size_t body_bytes = 16u << 20;  // of a body that is held whole; streamed ones have no limit
  // One more takes the place of the one that is idle longest; where none is, of one that waits or
  // streams, of a client that holds a quarter of them and more. Else it is answered 503, as is one
  // more of such a client itself when it has no idle one.
  size_t connections = 1024;
  // Of bodies that are coming and answers that are not read, beyond 64 KiB of each: of all clients,
  // of each. A body too many is answered 503, an answer too many costs the connection.
  size_t held_bytes = 256u << 20, held_bytes_each = 64u << 20;
  std::chrono::milliseconds handshake{10'000};  // of TLS, all of it
  std::chrono::milliseconds header{30'000};  // from a request's first byte to the end of its head
  std::chrono::milliseconds body{60'000};    // between two pieces of a body
  std::chrono::milliseconds write{60'000};   // without progress of a whole response
  std::chrono::milliseconds idle{600'000};   // between two requests of a connection
  // Content types whose bodies are given to handlers as a stream.
  std::vector<std::string> streaming_types = {"application/recordio", "application/x-tar"};
};

class Server {
 public:
  explicit Server(asio::any_io_executor executor, ServerLimits limits = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Answers the clients of a listening socket with `handler`; with `tls` those that pass its
  // handshake. Both must outlive the server.
  Result<void> serve(UniqueFd listener, Handler& handler, TlsContext* tls = nullptr);
  // Accepts no more and lets the requests at work end, for `limit` at most. Streams and waits are
  // cancelled at once.
  Co<void> drain(Duration limit);
  // Accepts no more, cancels everything, joins.
  Co<void> close();

  size_t connection_count() const;
  size_t active_request_count() const;
  // Those refused or closed for another one's sake, so far.
  uint64_t refused_count() const;
  // Handshakes of TLS, so far.
  uint64_t failed_handshakes() const;
  // When a request began or ended last; for leaving on demand.
  std::chrono::steady_clock::time_point last_activity() const;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

// Binds and listens. `address` is "IPv4:PORT" or "[IPv6]:PORT"; port 0 takes any.
Result<UniqueFd> listen_tcp(const std::string& address);
// "127.0.0.1:PORT" of a bound TCP socket.
Result<std::string> local_address(int socket);
}  // namespace gantry::http
