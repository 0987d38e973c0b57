// One client's connection: Beast's parser and everything that touches its state. Longer than 500
// lines so that Beast stays in one file.
#include "executor/http/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/str.h"
#include "base/sys.h"

namespace gantry::http {
namespace beast = boost::beast;
using boost::system::error_code;

namespace {
constexpr size_t kReadSize = 16u << 10;
constexpr size_t kPieceSize = 64u << 10;
constexpr size_t kWatchRoom = 64u << 10;   // pipelined bytes held while a request waits
constexpr size_t kMostDrained = 1u << 20;  // of a body nobody wanted
constexpr std::chrono::milliseconds kLinger{2000};
constexpr std::chrono::milliseconds kNoLimit = std::chrono::milliseconds::max();
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string to_hex_size(size_t size) {
  char buffer[20];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, size, 16).ptr};
}

// "application/json" of "Application/JSON; charset=utf-8".
std::string media_type(std::string_view value) {
  std::string out(value.substr(0, value.find(';')));
  while (!out.empty() && (out.back() == ' ' || out.back() == '\t')) out.pop_back();
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

// Beast's parser and what it works on. It sees the head and chunked bodies; bodies with a length
// are read past it, straight to where they belong.
struct Parser {
  using Http = beast::http::request_parser<beast::http::buffer_body>;
  beast::flat_buffer buffer;
  std::optional<Http> http;
};

class HttpConnection final : public Connection,
                             public std::enable_shared_from_this<HttpConnection>,
                             private Exchange,
                             private BodyStream,
                             private ResponseStream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  HttpConnection(Socket socket, Peer peer, Handler& handler, ServerState& server)
      : socket_(std::move(socket)),
        peer_(std::move(peer)),
        handler_(handler),
        server_(server),
        parser_(std::make_unique<Parser>()),
        watch_ended_(socket_.get_executor()) {}

  Co<void> run() override;
  Co<void> refuse() override;
  void set_number(uint64_t number) override { number_ = number; }
  Time deadline() const override { return deadline_; }
  void expire() override;
  uint64_t number() const override { return number_; }
  bool is_idle() const override { return idle_; }
  bool is_interruptible() const override { return interruptible_; }

 private:
  enum class Fill { data, closed, timed_out };
  enum class Next { again, close };

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
  Co<Result<void>> hand_over(int fd) override;
  Co<Result<ResponseStream*>> start_stream(Response head) override;
  void cancel_when_closed() override {
    interruptible_ = true;
    start_watch();
  }
  // BodyStream
  Co<Result<std::string_view>> read() override;
  void wait_without_deadline() override { body_limit_ = kNoLimit; }
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

// ---- Reading ---------------------------------------------------------------------------------

// At least one byte into data; 0 when there is none to come (gone_ or timed_out_ say why).
Co<size_t> HttpConnection::read_into(char* data, size_t size, std::chrono::milliseconds limit) {
  set_deadline(limit);
  error_code code;
  const size_t n = co_await socket_.async_read_some(
      asio::buffer(data, size), asio::redirect_error(asio::use_awaitable, code));
  deadline_ = Time::max();
  if (code && !timed_out_) gone_ = true;
  co_return code ? 0 : n;
}

Co<HttpConnection::Fill> HttpConnection::fill(std::chrono::milliseconds limit) {
  auto space = parser_->buffer.prepare(kReadSize);
  const size_t n = co_await read_into(static_cast<char*>(space.data()), space.size(), limit);
  if (n == 0) co_return timed_out_ ? Fill::timed_out : Fill::closed;
  parser_->buffer.commit(n);
  co_return Fill::data;
}

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
    if (code == beast::http::error::need_more) break;
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

// ---- Writing ---------------------------------------------------------------------------------

// One write for the whole message; asynchronous only where the socket is full.
Co<bool> HttpConnection::send(std::string_view a, std::string_view b, std::string_view c,
                              bool with_deadline) {
  std::array<asio::const_buffer, 3> buffers = {asio::buffer(a), asio::buffer(b), asio::buffer(c)};
  error_code code;
  size_t sent = socket_.write_some(buffers, code);
  if (code == asio::error::would_block) code = {};
  size_t left = a.size() + b.size() + c.size() - sent;
  while (!code && left != 0) {
    for (auto& buffer : buffers) {
      const size_t skip = std::min(sent, buffer.size());
      buffer += skip;
      sent -= skip;
    }
    if (with_deadline) set_deadline(server_.limits().write);
    sent =
        co_await socket_.async_write_some(buffers, asio::redirect_error(asio::use_awaitable, code));
    deadline_ = Time::max();
    left -= sent;
  }
  if (code) gone_ = true;
  co_return !code;
}

bool HttpConnection::keeps_alive() const {
  return parser_->http->keep_alive() && !server_.is_draining();
}

void HttpConnection::append_head(const Response& response, std::string& out) const {
  out += cat("HTTP/1.1 ", response.status, " ", reason_phrase(response.status),
             "\r\nDate: ", server_.date(), "\r\n");
  for (const auto& [name, value] : response.headers) out += cat(name, ": ", value, "\r\n");
  if (!response.content_type.empty()) out += cat("Content-Type: ", response.content_type, "\r\n");
}

Co<HttpConnection::Next> HttpConnection::answer(Response response) {
  const bool client_closes = !parser_->http->keep_alive();
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
  socket_.shutdown(Socket::shutdown_send, ignored);
  const Time end = std::chrono::steady_clock::now() + kLinger;
  std::string sink(kReadSize, '\0');
  for (size_t drained = 0; drained < kMostDrained;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    const size_t n = co_await read_into(sink.data(), sink.size(), left);
    if (n == 0) break;
    drained += n;
  }
  gone_ = true;
}

Co<Result<ResponseStream*>> HttpConnection::start_stream(Response response) {
  std::string head;
  append_head(response, head);
  // HTTP/1.0 knows no chunks: there the end of the connection is the end of the body.
  const bool chunked = parser_->http->get().version() >= 11;
  if (chunked) head += "Transfer-Encoding: chunked\r\n";
  if ((!keeps_alive() || !body_done_) && parser_->http->keep_alive())
    head += "Connection: close\r\n";
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
  const bool chunked = parser_->http->get().version() >= 11;
  const std::string head = chunked ? to_hex_size(bytes.size()) + "\r\n" : std::string();
  if (!co_await send(head, bytes, chunked ? "\r\n" : "", false)) {
    co_return Error(Errc::cancelled, "the client is gone");
  }
  co_return Result<void>();
}

Co<Result<void>> HttpConnection::finish() {
  GANTRY_CHECK(streaming_ == Streaming::open);
  const bool chunked = parser_->http->get().version() >= 11;
  if (gone_ || (chunked && !co_await send("0\r\n\r\n", {}, {}, true))) {
    co_return Error(Errc::cancelled, "the client is gone");
  }
  streaming_ = Streaming::finished;
  co_return Result<void>();
}

// ---- Noticing a client that goes away --------------------------------------------------------

// A read of its own while a request is at work. Pipelined bytes go to the buffer; when that is full
// the watch ends, and the close is seen later. A body that is still streamed in is its own watch.
void HttpConnection::start_watch() {
  if (watching_ || gone_ || !body_done_ || parser_->buffer.size() >= kWatchRoom) return;
  watching_ = true;
  auto space = parser_->buffer.prepare(kReadSize);
  socket_.async_read_some(space, [self = shared_from_this()](error_code code, size_t n) {
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
  });
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

// ---- The life of a connection ----------------------------------------------------------------

Co<HttpConnection::Next> HttpConnection::serve_one() {
  if (!co_await read_head()) co_return Next::close;
  if (!streams_body_ && !co_await read_whole_body()) co_return Next::close;
  server_.request_began();
  Response response = co_await handler_.handle(*this);
  interruptible_ = false;
  co_await stop_watch();
  Next next = Next::close;
  if (gone_) {
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
  if (piece_.capacity() != 0) piece_ = {};
  co_return next;
}

Co<void> HttpConnection::run() {
  error_code code;
  // Writes are tried at once, without a trip through the reactor (send()).
  socket_.non_blocking(true, code);
  if (code) co_return;
  const auto self = shared_from_this();
  while (co_await serve_one() == Next::again) {
    if (co_await is_cancelled()) break;
  }
  socket_.shutdown(Socket::shutdown_both, code);
  socket_.close(code);
}

Co<void> HttpConnection::refuse() {
  const auto self = shared_from_this();
  error_code code;
  socket_.non_blocking(true, code);
  co_await fail(503, "Too many connections");
  socket_.close(code);
}

Result<std::shared_ptr<Connection>> make_connection(const asio::any_io_executor& executor,
                                                    UniqueFd socket, int family, Peer peer,
                                                    Handler& handler, ServerState& server) {
  HttpConnection::Socket taken(executor);
  error_code code;
  taken.assign(asio::generic::stream_protocol(family, 0), socket.get(), code);
  if (code) return Error({code.value(), std::system_category()}, "take over a connection");
  (void)socket.release();
  return std::shared_ptr<Connection>(
      std::make_shared<HttpConnection>(std::move(taken), std::move(peer), handler, server));
}
}  // namespace gantry::http
