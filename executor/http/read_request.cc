// The reading half of a connection: heads and bodies, and the watch for a client that goes away.
// The one user of Beast's parser.
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <poll.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/str.h"
#include "base/sys.h"
#include "executor/http/http_connection.h"

namespace gantry::http {
namespace beast = boost::beast;
using boost::system::error_code;

namespace {
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr size_t kPieceSize = 64u << 10;
constexpr std::string_view kTooMuch = "This client has too much on its way; send less at once";
constexpr size_t kMostFraming = 16u << 10;  // a chunk's head with extensions; the trailer
constexpr size_t kWatchRoom = 64u << 10;    // pipelined bytes held while a request waits

// "application/json" of "Application/JSON; charset=utf-8".
std::string media_type(std::string_view value) {
  std::string out(value.substr(0, value.find(';')));
  while (!out.empty() && (out.back() == ' ' || out.back() == '\t')) out.pop_back();
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}
}  // namespace

struct HttpConnection::Parser {
  using Http = beast::http::request_parser<beast::http::buffer_body>;
  beast::flat_buffer buffer;
  std::optional<Http> http;
};

HttpConnection::HttpConnection(Socket socket, Peer peer, Handler& handler, ServerState& server,
                               TlsContext* tls)
    : socket_(std::move(socket)),
      tls_(tls == nullptr ? nullptr : make_tls_stream(*tls, socket_)),
      peer_(std::move(peer)),
      client_(client_of(peer_)),
      handler_(handler),
      server_(server),
      parser_(std::make_unique<Parser>()),
      watch_ended_(socket_.get_executor()) {}

HttpConnection::~HttpConnection() = default;

// At least one byte into data; 0 when there is none to come (gone_ or timed_out_ say why).
Co<size_t> HttpConnection::read_into(char* data, size_t size, std::chrono::milliseconds limit) {
  set_deadline(limit);
  error_code code;
  const asio::mutable_buffer space(data, size);
  size_t n = 0;
  if (tls_) {
    n = co_await tls_->read(space, code);
  } else {
    n = co_await socket_.async_read_some(space, asio::redirect_error(asio::use_awaitable, code));
  }
  deadline_ = Time::max();
  if (code && !timed_out_) gone_ = true;
  // One that was told to make room goes, also where its bytes came at the same moment.
  co_return code || timed_out_ ? 0 : n;
}

Co<HttpConnection::Fill> HttpConnection::fill(std::chrono::milliseconds limit) {
  auto space = parser_->buffer.prepare(kReadSize);
  const size_t n = co_await read_into(static_cast<char*>(space.data()), space.size(), limit);
  if (n == 0) co_return timed_out_ ? Fill::timed_out : Fill::closed;
  parser_->buffer.commit(n);
  co_return Fill::data;
}

// ---- Heads -----------------------------------------------------------------------------------

// The head of the next request. False: there is none, and the connection is to be closed.
Co<bool> HttpConnection::read_head() {
  auto& parser = *parser_;
  parser.http.emplace();
  parser.http->header_limit(static_cast<uint32_t>(server_.limits().header_bytes));
  parser.http->body_limit(boost::none);
  bool begun = parser.buffer.size() != 0;
  // One deadline for the whole head: a byte now and then does not move it.
  Time end = std::chrono::steady_clock::now() + server_.limits().header;
  while (true) {
    if (parser.buffer.size() != 0) {
      error_code code;
      parser.buffer.consume(parser.http->put(parser.buffer.data(), code));
      if (parser.http->is_header_done()) break;
      if (code == beast::http::error::header_limit) {
        co_await fail(431, cat("The head of a request has at most ", server_.limits().header_bytes,
                               " bytes"));
        co_return false;
      }
      if (code && code != beast::http::error::need_more) {
        co_await fail(400, cat("Failed to parse the HTTP request: ", code.message()));
        co_return false;
      }
    }
    idle_ = !begun;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    const Fill got =
        co_await fill(begun ? std::max(left, std::chrono::milliseconds(1)) : server_.limits().idle);
    if (idle_) end = std::chrono::steady_clock::now() + server_.limits().header;
    idle_ = false;
    if (got == Fill::timed_out && begun) co_await fail(408, "The request came too slowly");
    if (got != Fill::data) co_return false;
    begun = true;
  }
  take_head();
  co_return true;
}

void HttpConnection::take_head() {
  const auto& head = parser_->http->get();
  request_ = {};
  const auto method = head.method_string();
  request_.method.assign(method.data(), method.size());
  request_.target.assign(head.target().data(), head.target().size());
  request_.path = request_.target.substr(0, request_.target.find('?'));
  for (const auto& field : head) {
    const auto name = field.name_string();
    request_.headers.emplace_back(std::string(name.data(), name.size()),
                                  std::string(field.value().data(), field.value().size()));
  }
  client_keeps_alive_ = parser_->http->keep_alive();
  takes_chunks_ = head.version() >= 11;
  is_chunked_ = parser_->http->chunked();
  body_left_ = parser_->http->content_length().value_or(0);
  body_done_ = !is_chunked_ && body_left_ == 0;
  body_limit_ = server_.limits().body;
  const std::string* expect = request_.header("expect");
  expects_continue_ = expect != nullptr && media_type(*expect) == "100-continue";
  const std::string* type = request_.header("content-type");
  const auto& streaming = server_.limits().streaming_types;
  streams_body_ = type != nullptr && std::find(streaming.begin(), streaming.end(),
                                               media_type(*type)) != streaming.end();
  streaming_ = Streaming::none;
}

Co<bool> HttpConnection::continue_if_expected() {
  if (!std::exchange(expects_continue_, false) || parser_->buffer.size() != 0 || body_done_) {
    co_return true;
  }
  co_return co_await send(kContinue, {}, {}, true);
}

Co<Result<void>> HttpConnection::hand_over(int fd) {
  if (!peer_.credentials) {
    co_return Error(Errc::unsupported, "only a unix socket carries descriptors");
  }
  // Small, and nothing was answered yet: it fits into the socket.
  const std::array<int, 1> fds = {fd};
  co_return sys::send_message(socket_.native_handle(), kContinue, fds);
}

// ---- Bodies ----------------------------------------------------------------------------------

// The payload of a chunked body that is in the buffer, at most `size` bytes. 0: more is needed, or
// it is done (body_done_).
Result<size_t> HttpConnection::take_chunked(char* data, size_t size) {
  auto& http = *parser_->http;
  http.eager(true);
  http.get().body().data = data;
  http.get().body().size = size;
  http.get().body().more = true;
  error_code code;
  while (!http.is_done() && http.get().body().size != 0) {
    const size_t used = http.put(parser_->buffer.data(), code);
    parser_->buffer.consume(used);
    if (code == beast::http::error::need_buffer) code = {};
    if (code == beast::http::error::need_more) {
      // What is left is framing: payload has been taken as it came.
      if (parser_->buffer.size() <= kMostFraming) break;
      return Error(Errc::invalid, cat("broken chunked body: more than ", kMostFraming,
                                      " bytes of a chunk's head or the trailer"));
    }
    if (code) return Error(Errc::invalid, cat("broken chunked body: ", code.message()));
    if (used == 0) break;
  }
  body_done_ = http.is_done();
  return size - http.get().body().size;
}

// False: answered already, or the client is gone.
Co<bool> HttpConnection::read_whole_body() {
  const size_t limit = server_.limits().body_bytes;
  if (body_left_ > limit) {
    co_await fail(413,
                  cat("The body has ", body_left_, " bytes, at most ", limit, " are accepted"));
    co_return false;
  }
  if (body_done_) co_return true;
  if (body_left_ > kUncounted && !hold(body_left_)) {
    co_await fail(503, kTooMuch);
    co_return false;
  }
  if (!co_await continue_if_expected()) co_return false;
  if (is_chunked_) co_return co_await read_chunked_body();
  std::string& body = request_.body;
  body.resize(body_left_);
  size_t have = asio::buffer_copy(asio::buffer(body), parser_->buffer.data());
  parser_->buffer.consume(have);
  while (have < body.size()) {
    const size_t n =
        co_await read_into(body.data() + have, body.size() - have, server_.limits().body);
    if (n == 0) {
      if (timed_out_) co_await fail(408, "The body came too slowly");
      co_return false;
    }
    have += n;
  }
  body_done_ = true;
  co_return true;
}

Co<bool> HttpConnection::read_chunked_body() {
  const size_t limit = server_.limits().body_bytes;
  while (true) {
    const size_t have = request_.body.size();
    if (have + kPieceSize > kUncounted + held_ && !hold(kPieceSize)) {
      co_await fail(503, kTooMuch);
      co_return false;
    }
    request_.body.resize(std::min(have + kPieceSize, limit + 1));
    auto got = take_chunked(request_.body.data() + have, request_.body.size() - have);
    request_.body.resize(have + (got ? *got : 0));
    if (!got) {
      co_await fail(400, got.error().to_string());
      co_return false;
    }
    if (request_.body.size() > limit) {
      co_await fail(413, cat("The body has more than ", limit, " bytes"));
      co_return false;
    }
    if (body_done_) co_return true;
    if (*got != 0) continue;
    const Fill filled = co_await fill(server_.limits().body);
    if (filled == Fill::timed_out) co_await fail(408, "The body came too slowly");
    if (filled != Fill::data) co_return false;
  }
}

Co<Result<std::string_view>> HttpConnection::read() {
  if (body_done_) co_return std::string_view();
  if (!co_await continue_if_expected()) co_return Error(Errc::cancelled, "the client is gone");
  piece_.resize(kPieceSize);
  size_t got = 0;
  while (got == 0 && !body_done_) {
    if (is_chunked_) {
      got = GANTRY_CO_TRY(take_chunked(piece_.data(), piece_.size()));
      if (got != 0 || body_done_) break;
      if (co_await fill(body_limit_) == Fill::data) continue;
    } else {
      const size_t wanted = std::min<uint64_t>(piece_.size(), body_left_);
      got = asio::buffer_copy(asio::buffer(piece_.data(), wanted), parser_->buffer.data());
      parser_->buffer.consume(got);
      if (got == 0) got = co_await read_into(piece_.data(), wanted, body_limit_);
      body_left_ -= got;
      body_done_ = body_left_ == 0;
      if (got != 0) break;
    }
    if (timed_out_) co_return Error(Errc::timed_out, "the body came too slowly");
    co_return Error(Errc::cancelled, "the client went away in the middle of the body");
  }
  co_return std::string_view(piece_.data(), got);
}

// ---- Noticing a client that goes away --------------------------------------------------------

// A read of its own while a request is at work. Pipelined bytes go to the buffer; when that is full
// the watch ends, and the close is seen later. A body that is still streamed in is its own watch.
void HttpConnection::start_watch() {
  if (watching_ || gone_ || !body_done_ || parser_->buffer.size() >= kWatchRoom) return;
  watching_ = true;
  auto space = parser_->buffer.prepare(kReadSize);
  auto received = [self = shared_from_this()](error_code code, size_t n) {
    self->watching_ = false;
    if (n != 0) self->parser_->buffer.commit(n);
    if (self->stop_watching_ || code == asio::error::operation_aborted) {
      self->watch_ended_.notify();
    } else if (code) {
      self->gone_ = true;
      self->watch_ended_.notify();
      self->server_.cancel(self->number_);
    } else {
      self->start_watch();
    }
  };
  if (tls_) {
    tls_->read(space, std::move(received));
  } else {
    socket_.async_read_some(space, std::move(received));
  }
}

bool HttpConnection::is_closed() {
  // KERNEL: POLLHUP: both directions; who only says that no more will come waits for the answer.
  pollfd look = {socket_.native_handle(), 0, 0};
  return gone_ || (::poll(&look, 1, 0) == 1 && (look.revents & (POLLHUP | POLLERR)) != 0);
}

Co<void> HttpConnection::stop_watch() {
  stop_watching_ = true;
  if (watching_) {
    error_code ignored;
    socket_.cancel(ignored);
    while (watching_) co_await watch_ended_.wait();
  }
  stop_watching_ = false;
}
}  // namespace gantry::http
