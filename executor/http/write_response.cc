// The writing half of a connection: answers, whole and streamed, and our own to what is no request.
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/str.h"
#include "executor/http/http_connection.h"

namespace gantry::http {
using boost::system::error_code;

namespace {
constexpr size_t kMostDrained = 1u << 20;  // of a body nobody wanted
constexpr std::chrono::milliseconds kLinger{2000};

std::string to_hex_size(size_t size) {
  char buffer[20];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, size, 16).ptr};
}
}  // namespace

// One write for the whole message; asynchronous only where the socket is full.
Co<bool> HttpConnection::send(std::string_view a, std::string_view b, std::string_view c,
                              bool with_deadline) {
  std::array<asio::const_buffer, 3> buffers = {asio::buffer(a), asio::buffer(b), asio::buffer(c)};
  error_code code;
  size_t sent = tls_ ? 0 : socket_.write_some(buffers, code);
  if (code == asio::error::would_block) code = {};
  size_t left = a.size() + b.size() + c.size() - sent;
  if (!code && with_deadline && left > kUncounted && !hold(left)) gone_ = true;
  if (gone_) co_return false;
  while (!code && left != 0) {
    for (auto& buffer : buffers) {
      const size_t skip = std::min(sent, buffer.size());
      buffer += skip;
      sent -= skip;
    }
    if (with_deadline) set_deadline(server_.limits().write);
    if (tls_) {
      sent = co_await tls_->write(buffers, code);
    } else {
      sent = co_await socket_.async_write_some(buffers,
                                               asio::redirect_error(asio::use_awaitable, code));
    }
    deadline_ = Time::max();
    left -= sent;
  }
  if (code) gone_ = true;
  co_return !code;
}

bool HttpConnection::keeps_alive() const { return client_keeps_alive_ && !server_.is_draining(); }

void HttpConnection::append_head(const Response& response, std::string& out) const {
  out += cat("HTTP/1.1 ", response.status, " ", reason_phrase(response.status),
             "\r\nDate: ", server_.date(), "\r\n");
  for (const auto& [name, value] : response.headers) out += cat(name, ": ", value, "\r\n");
  if (!response.content_type.empty()) out += cat("Content-Type: ", response.content_type, "\r\n");
}

Co<HttpConnection::Next> HttpConnection::answer(Response response) {
  const bool client_closes = !client_keeps_alive_;
  // What is left of a body that nobody read would be taken for the next request.
  const bool close = !keeps_alive() || !body_done_;
  std::string head;
  head.reserve(256);
  append_head(response, head);
  if (close && !client_closes) head += "Connection: close\r\n";
  head += cat("Content-Length: ", response.body.size(), "\r\n\r\n");
  const std::string_view body = request_.method == "HEAD" ? std::string_view() : response.body;
  if (!co_await send(head, body, {}, true)) co_return Next::close;
  if (!body_done_) co_await linger();
  co_return close ? Next::close : Next::again;
}

// An answer of our own to what is no request; the connection is useless afterwards.
Co<void> HttpConnection::fail(unsigned status, std::string_view text) {
  const Response response = Response::text(status, std::string(text));
  std::string head;
  append_head(response, head);
  head += cat("Connection: close\r\nContent-Length: ", response.body.size(), "\r\n\r\n");
  if (co_await send(head, response.body, {}, true)) co_await linger();
}

// Closing a socket with unread data resets it, and the client may never see the answer: say that
// we are done, and throw away what still comes, for a while.
Co<void> HttpConnection::linger() {
  error_code ignored;
  if (tls_) co_await say_farewell();
  socket_.shutdown(Socket::shutdown_send, ignored);
  const Time end = std::chrono::steady_clock::now() + kLinger;
  std::string sink(kReadSize, '\0');
  for (size_t drained = 0; drained < kMostDrained;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    set_deadline(left);
    const size_t n = co_await socket_.async_read_some(
        asio::buffer(sink), asio::redirect_error(asio::use_awaitable, ignored));
    deadline_ = Time::max();
    if (n == 0) break;
    drained += n;
  }
  gone_ = true;
}

Co<Result<ResponseStream*>> HttpConnection::start_stream(Response response) {
  std::string head;
  append_head(response, head);
  if (takes_chunks_) head += "Transfer-Encoding: chunked\r\n";
  if ((!keeps_alive() || !body_done_) && client_keeps_alive_) head += "Connection: close\r\n";
  head += "\r\n";
  if (!co_await send(head, {}, {}, true)) co_return Error(Errc::cancelled, "the client is gone");
  streaming_ = Streaming::open;
  cancel_when_closed();
  co_return static_cast<ResponseStream*>(this);
}

Co<Result<void>> HttpConnection::write(std::string_view bytes) {
  GANTRY_CHECK(streaming_ == Streaming::open);
  if (gone_) co_return Error(Errc::cancelled, "the client is gone");
  if (bytes.empty()) co_return Result<void>();  // an empty chunk would be the end
  const std::string head = takes_chunks_ ? to_hex_size(bytes.size()) + "\r\n" : std::string();
  if (!co_await send(head, bytes, takes_chunks_ ? "\r\n" : "", false)) {
    co_return Error(Errc::cancelled, "the client is gone");
  }
  co_return Result<void>();
}

Co<Result<void>> HttpConnection::finish(Headers trailers) {
  GANTRY_CHECK(streaming_ == Streaming::open);
  std::string end = "0\r\n";
  for (const auto& [name, value] : trailers) end += cat(name, ": ", value, "\r\n");
  end += "\r\n";
  if (gone_ || (takes_chunks_ && !co_await send(end, {}, {}, true))) {
    co_return Error(Errc::cancelled, "the client is gone");
  }
  streaming_ = Streaming::finished;
  co_return Result<void>();
}
}  // namespace gantry::http
