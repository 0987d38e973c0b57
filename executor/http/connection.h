// Inside of the HTTP server: one client's connection. Not a public header.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/co.h"
#include "base/unique_fd.h"
#include "executor/http/exchange.h"
#include "executor/http/server.h"
#include "executor/http/tls.h"

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
  // Memory for a client, until it is released; false: it holds too much already.
  virtual bool hold(const std::string& client, size_t bytes) = 0;
  virtual void release(const std::string& client, size_t bytes) = 0;
  virtual void request_began() = 0;
  virtual void request_ended() = 0;
  virtual void handshake_failed() = 0;
  virtual bool is_draining() const = 0;
  // The value of a Date header, for now.
  virtual std::string_view date() = 0;
  const ServerLimits& limits() const { return limits_; }

 protected:
  explicit ServerState(ServerLimits limits) : limits_(std::move(limits)) {}
  ServerLimits limits_;
};

// One connection, from accept to close. Lifetime: its own coroutine and a pending read hold it.
class Connection {
 public:
  virtual ~Connection() = default;
  // Serves requests until either side is done.
  virtual Co<void> run() = 0;
  // Answers one 503 instead, for a client too many.
  virtual Co<void> refuse() = 0;
  // What ServerState::cancel calls the chain of run(); set before it begins.
  virtual void set_number(uint64_t number) = 0;
  virtual uint64_t number() const = 0;
  // Whose it is (client_of).
  virtual const std::string& client() const = 0;
  // Time::max(): it does not wait for its client.
  virtual Time deadline() const = 0;
  virtual void expire() = 0;
  // Waiting for a request: nothing is lost by closing.
  virtual bool is_idle() const = 0;
  // At work on a request that said cancel_when_closed, or streams its answer.
  virtual bool is_interruptible() const = 0;
};

// `socket` is a connected stream socket of `family` (AF_UNIX, AF_INET, AF_INET6). With `tls` it
// begins with a handshake, and has nothing for who fails it.
Result<std::shared_ptr<Connection>> make_connection(const asio::any_io_executor& executor,
                                                    UniqueFd socket, int family, Peer peer,
                                                    Handler& handler, ServerState& server,
                                                    TlsContext* tls = nullptr);
}  // namespace gantry::http
