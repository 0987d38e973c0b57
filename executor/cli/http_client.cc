#include "executor/cli/http_client.h"

#include <boost/beast/core/impl/error.ipp>
#include <boost/beast/core/impl/string.ipp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/detail/basic_parser.ipp>
#include <boost/beast/http/detail/rfc7230.ipp>
#include <boost/beast/http/impl/basic_parser.ipp>
#include <boost/beast/http/impl/error.ipp>
#include <boost/beast/http/impl/field.ipp>
#include <boost/beast/http/impl/rfc7230.ipp>
#include <boost/beast/http/impl/status.ipp>
#include <boost/beast/http/impl/verb.ipp>

#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "base/sys.h"

namespace gantry::cli {
namespace http = boost::beast::http;
namespace {
using BeastError = boost::system::error_code;
using BeastText = boost::beast::string_view;

std::string to_string(BeastText text) { return {text.data(), text.size()}; }

// One executor is asked in a life of this program.
std::string& common_headers() {
  static std::string headers;
  return headers;
}

void append_head(std::string& out, const HttpRequest& request) {
  out += cat("POST ", request.target, " HTTP/1.1\r\nHost: gantry\r\n");
  for (const auto& [name, value] : request.headers) out += cat(name, ": ", value, "\r\n");
  out += common_headers();
}
}  // namespace

std::string_view HttpHead::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key.size() == name.size() && strncasecmp(key.data(), name.data(), name.size()) == 0) {
      return value;
    }
  }
  return {};
}

// One answer at a time: Beast's grammar, our storage.
struct Connection::Parser : http::basic_parser<false> {
  Parser() {
    eager(true);
    body_limit(boost::none);
    header_limit(64u << 10);
  }
  HttpHead head;
  std::string body;

 private:
  void on_request_impl(http::verb, BeastText, BeastText, int, BeastError&) override {}
  void on_response_impl(int status, BeastText reason, int, BeastError& error) override {
    head.status = static_cast<unsigned>(status);
    head.reason = to_string(reason);
    error = {};
  }
  void on_field_impl(http::field, BeastText name, BeastText value, BeastError& error) override {
    head.headers.emplace_back(to_string(name), to_string(value));
    error = {};
  }
  void on_header_impl(BeastError& error) override { error = {}; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, BeastError& error) override {
    error = {};
  }
  std::size_t on_body_impl(BeastText bytes, BeastError& error) override {
    body.append(bytes.data(), bytes.size());
    error = {};
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastText, BeastError& error) override { error = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, BeastText bytes, BeastError& error) override {
    body.append(bytes.data(), bytes.size());
    error = {};
    return bytes.size();
  }
  void on_finish_impl(BeastError& error) override { error = {}; }
};

Connection::Connection(UniqueFd fd) : fd_(std::move(fd)), parser_(std::make_unique<Parser>()) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

Result<Connection> Connection::connect(const std::string& socket_path) {
  return Connection(GANTRY_TRY(sys::connect_unix(socket_path, SOCK_STREAM)));
}

void Connection::say_in_every_request(std::string_view name, std::string_view value) {
  common_headers() = cat(name, ": ", value, "\r\n");
}

std::string Connection::format(const HttpRequest& request) {
  std::string out;
  out.reserve(request.body.size() + 512);
  append_head(out, request);
  out += cat("Content-Length: ", request.body.size(), "\r\n\r\n", request.body);
  return out;
}

Result<void> Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    // A closed executor is an error to report, not a signal to die of.
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) {
        return Error(Errc::cancelled, "the executor closed the connection");
      }
      return Error::from_errno(errno, "send to the executor");
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> Connection::send_streaming(const HttpRequest& request) {
  std::string out;
  append_head(out, request);
  out += "Transfer-Encoding: chunked\r\n\r\n";
  return send(out);
}

Result<void> Connection::send_chunk(std::string_view bytes) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  std::string out(size, end);
  out += "\r\n";
  out.append(bytes);
  out += "\r\n";
  return send(out);
}

Result<void> Connection::parse() {
  while (!buffer_.empty() && !parser_->is_done()) {
    BeastError error;
    const size_t used =
        parser_->put(boost::asio::const_buffer(buffer_.data(), buffer_.size()), error);
    buffer_.erase(0, used);
    if (error == http::error::need_more) break;
    if (error) {
      return Error(Errc::corrupt,
                   cat("the executor's answer is not HTTP: ", std::string(error.message())));
    }
    if (used == 0) break;
  }
  return {};
}

Result<bool> Connection::feed() {
  char bytes[16u << 10];
  iovec space = {bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &space;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == ECONNRESET) n = 0;
  if (const cmsghdr* head = n < 0 ? nullptr : CMSG_FIRSTHDR(&message);
      head != nullptr && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    descriptor_.reset(fd);
  }
  if (n < 0) return Error::from_errno(errno, "read from the executor");
  if (n == 0) {
    BeastError error;
    if (parser_->got_some()) parser_->put_eof(error);
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(n));
  GANTRY_TRY(parse());
  return true;
}

const HttpHead* Connection::head() const {
  return parser_->is_header_done() ? &parser_->head : nullptr;
}
std::string Connection::take_body() { return std::exchange(parser_->body, {}); }
bool Connection::is_complete() const { return parser_->is_done(); }
void Connection::next() { parser_ = std::make_unique<Parser>(); }

Result<HttpHead> Connection::receive_head() {
  GANTRY_TRY(parse());
  while (head() == nullptr) {
    if (!GANTRY_TRY(feed())) return Error(Errc::cancelled, "the executor closed the connection");
  }
  return *head();
}

Result<HttpResponse> Connection::receive() {
  HttpResponse response;
  response.head = GANTRY_TRY(receive_head());
  while (!is_complete()) {
    if (!GANTRY_TRY(feed())) {
      if (is_complete()) break;
      return Error(Errc::corrupt, "the executor closed the connection in the middle of an answer");
    }
  }
  response.body = take_body();
  next();
  return response;
}

Result<std::optional<std::string>> RecordReader::next() {
  const size_t newline = buffer_.find('\n', start_);
  const std::string_view head =
      std::string_view(buffer_).substr(start_, newline == buffer_.npos ? 21 : newline - start_);
  size_t length = 0;
  if (newline == buffer_.npos) {
    if (head.size() > 20) return Error(Errc::corrupt, "a record's length is not a number");
    return std::optional<std::string>();
  }
  if (!parse_number(head, length) || length > (1u << 30)) {
    return Error(Errc::corrupt, "a record's length is not a number");
  }
  if (buffer_.size() - newline - 1 < length) return std::optional<std::string>();
  std::optional<std::string> record = buffer_.substr(newline + 1, length);
  start_ = newline + 1 + length;
  // Compact only when the waste is worth the copy.
  if (start_ == buffer_.size() || start_ > (256u << 10)) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  return record;
}

std::string frame_record(std::string_view bytes) { return cat(bytes.size(), "\n", bytes); }
}  // namespace gantry::cli
