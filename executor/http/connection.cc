// The life of a connection: request after request, deadlines, the end.
#include "executor/http/connection.h"

#include "executor/http/http_connection.h"

namespace gantry::http {
using boost::system::error_code;

namespace {
constexpr std::chrono::milliseconds kFarewell{200};  // for a client to say that it heard it
}  // namespace

void HttpConnection::set_deadline(std::chrono::milliseconds limit) {
  timed_out_ = false;
  if (limit == kNoLimit) return;
  deadline_ = std::chrono::steady_clock::now() + limit;
  server_.deadline_changed(deadline_);
}

void HttpConnection::expire() {
  deadline_ = Time::max();
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

bool HttpConnection::hold(size_t bytes) {
  if (!server_.hold(client_, bytes)) return false;
  held_ += bytes;
  return true;
}

void HttpConnection::release_all() { server_.release(client_, std::exchange(held_, 0)); }

// Waiting for it nothing is lost by closing, as between two requests.
Co<bool> HttpConnection::shake_hands() {
  error_code code;
  idle_ = true;
  set_deadline(server_.limits().handshake);
  peer_.certificate = co_await tls_->handshake(code);
  deadline_ = Time::max();
  idle_ = false;
  gone_ = code || timed_out_;
  if (gone_) server_.handshake_failed();
  co_return !gone_;
}

Co<void> HttpConnection::say_farewell() {
  set_deadline(kFarewell);
  co_await tls_->close();
  deadline_ = Time::max();
}

Co<HttpConnection::Next> HttpConnection::serve_one() {
  if (!co_await read_head()) co_return Next::close;
  if (auto refused = handler_.turn_away(request_, peer_)) {
    co_return co_await answer(std::move(*refused));
  }
  if (!streams_body_ && !co_await read_whole_body()) co_return Next::close;
  server_.request_began();
  Response response = co_await handler_.handle(*this);
  // Its client asks again, of this executor's successor, when nothing is answered.
  const bool is_interrupted = std::exchange(interruptible_, false) && co_await is_cancelled();
  co_await stop_watch();
  Next next = Next::close;
  if (gone_ || (is_interrupted && streaming_ == Streaming::none)) {
    next = Next::close;
  } else if (streaming_ == Streaming::none) {
    next = co_await answer(std::move(response));
  } else if (streaming_ == Streaming::finished && body_done_ && keeps_alive()) {
    next = Next::again;
  } else if (streaming_ == Streaming::finished && !body_done_) {
    co_await linger();
  }
  server_.request_ended();
  request_ = {};
  release_all();
  if (piece_.capacity() != 0) piece_ = {};
  co_return next;
}

Co<void> HttpConnection::run() {
  error_code code;
  // Writes are tried at once, without a trip through the reactor (send()).
  socket_.non_blocking(true, code);
  if (code) co_return;
  const auto self = shared_from_this();
  if (!tls_ || co_await shake_hands()) {
    while (co_await serve_one() == Next::again) {
      if (co_await is_cancelled()) break;
    }
  }
  release_all();
  if (tls_ && !gone_) co_await say_farewell();
  socket_.shutdown(Socket::shutdown_both, code);
  socket_.close(code);
}

Co<void> HttpConnection::refuse() {
  const auto self = shared_from_this();
  error_code code;
  socket_.non_blocking(true, code);
  // Without a handshake there are no words that it would understand.
  if (!tls_) co_await fail(503, "Too many connections");
  socket_.close(code);
}

Result<std::shared_ptr<Connection>> make_connection(const asio::any_io_executor& executor,
                                                    UniqueFd socket, int family, Peer peer,
                                                    Handler& handler, ServerState& server,
                                                    TlsContext* tls) {
  HttpConnection::Socket taken(executor);
  error_code code;
  taken.assign(asio::generic::stream_protocol(family, 0), socket.get(), code);
  if (code) return Error({code.value(), std::system_category()}, "take over a connection");
  (void)socket.release();
  return std::shared_ptr<Connection>(
      std::make_shared<HttpConnection>(std::move(taken), std::move(peer), handler, server, tls));
}
}  // namespace gantry::http
