// HTTP/1.1 over the executor's unix socket: one connection, requests answered in order, so that
// several may be sent before the first answer (LAUNCH, ATTACH_OUTPUT and WAIT in one write).
//
// No event loop: a Connection is a descriptor and a parser (Beast's, fed by hand). Blocking callers
// use receive(); callers with more to watch poll(2) on fd() and call feed().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry::cli {
using Headers = std::vector<std::pair<std::string, std::string>>;

// Says that we take descriptors where the executor can give them.
inline constexpr std::string_view kHandOver = "Gantry-Hand-Over";

struct HttpRequest {
  std::string target;
  Headers headers;   // Host, Content-Length or Transfer-Encoding are added
  std::string body;  // of a request that is sent whole
};

struct HttpHead {
  unsigned status = 0;
  std::string reason;
  Headers headers;
  // Empty when there is no such header. Names are compared without case.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  HttpHead head;
  std::string body;
};

class Connection {
 public:
  static Result<Connection> connect(const std::string& socket_path);
  explicit Connection(UniqueFd fd);
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  int fd() const { return fd_.get(); }

  // A header of this program's requests from now on, whatever the connection.
  static void say_in_every_request(std::string_view name, std::string_view value);
  // The text of a request with its body, to be joined with others and sent at once.
  static std::string format(const HttpRequest& request);
  Result<void> send(std::string_view bytes);
  // A request whose body follows in chunks; finish with an empty one.
  Result<void> send_streaming(const HttpRequest& request);
  Result<void> send_chunk(std::string_view bytes);

  // ---- The answer that is next in line ----
  // Reads once (blocks where the descriptor blocks) and parses. False: the other end closed.
  Result<bool> feed();
  // Parses what was read already, without reading.
  Result<void> parse();
  const HttpHead* head() const;  // null until it is complete
  std::string take_body();       // what has arrived since the last call
  UniqueFd take_descriptor() { return std::move(descriptor_); }  // that came along, if one did
  bool is_complete() const;
  // To the next answer in line. Preconditions: is_complete().
  void next();

  // The whole next answer. An end-of-file before its first byte is Errc::cancelled: nobody
  // answered, asking again is safe where the call is idempotent.
  Result<HttpResponse> receive();
  // The next answer's head only.
  Result<HttpHead> receive_head();

 private:
  struct Parser;
  UniqueFd fd_;
  std::unique_ptr<Parser> parser_;
  std::string buffer_;  // read, not parsed
  UniqueFd descriptor_;
};

// RecordIO: `<decimal length>\n<bytes>`, repeated.
class RecordReader {
 public:
  void add(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole record; empty optional: more bytes are needed.
  Result<std::optional<std::string>> next();

 private:
  std::string buffer_;
  size_t start_ = 0;
};
std::string frame_record(std::string_view bytes);
}  // namespace gantry::cli
