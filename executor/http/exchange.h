// One HTTP request and its answer, as handlers see them. No Beast, no Asio sockets.
//
// Threads: loop only. An Exchange lives as long as the call of Handler::handle.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/co.h"
#include "base/printable.h"
#include "base/result.h"

namespace gantry::http {
// Who is at the other end. On a unix socket the kernel vouches for uid, gid and pid (SO_PEERCRED);
// on TCP nobody does, and they are absent.
struct Peer {
  struct Credentials {
    uid_t uid;
    gid_t gid;
    pid_t pid;
  };
  std::optional<Credentials> credentials;
  std::string address;      // "127.0.0.1:4711"; empty on a unix socket
  std::string certificate;  // the subject of the one it proved to have (TLS); empty: none
};

// Which client it is where each gets its share: the process at a unix socket's other end, or TCP's
// address.
std::string client_of(const Peer& peer);

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // "POST"
  std::string target;  // "/api/v1?x=1", as sent
  std::string path;    // the target without query
  Headers headers;     // names as sent
  // The whole body; empty where body_stream() of the exchange is to be read instead.
  std::string body;
  // The first header of that name (compared without case); nullptr when absent.
  const std::string* header(std::string_view name) const;
};

struct Response {
  unsigned status = 200;
  std::string content_type;  // empty: no Content-Type header
  std::string body;
  Headers headers;  // further ones

  static Response empty(unsigned status) { return {status, {}, {}, {}}; }
  // One that refuses a request may quote it: control characters are escaped.
  static Response text(unsigned status, std::string body) {
    const bool refuses = status >= 400 && status < 500;
    return {status, "text/plain; charset=utf-8", refuses ? printable(body) : std::move(body), {}};
  }
};

// A request body too large or too slow to be held: read piece by piece.
class BodyStream {
 public:
  virtual ~BodyStream() = default;
  // The next bytes, as many as have come (at least one, at most 64 KiB); empty at the end. The
  // view is valid until the next read. Errc::cancelled when the client is gone, Errc::timed_out
  // when it sends nothing for the body's deadline, Errc::invalid for broken chunks.
  virtual Co<Result<std::string_view>> read() = 0;
  // From now on read() waits for as long as the client stays.
  virtual void wait_without_deadline() = 0;
};

// A response that is sent as it comes (Transfer-Encoding: chunked).
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;
  // One chunk, in one write. Waits while the client does not read. Errc::cancelled when it is gone.
  virtual Co<Result<void>> write(std::string_view bytes) = 0;
  // The end of the response; the connection goes on. Without it the connection is cut, so that the
  // client sees that something is missing. A client of HTTP/1.0 is not told the trailers.
  virtual Co<Result<void>> finish(Headers trailers) = 0;
  Co<Result<void>> finish() { return finish({}); }
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;
  virtual const Peer& peer() const = 0;
  // Where the content type is one of the server's streaming types; else nullptr.
  virtual BodyStream* body_stream() = 0;
  // A descriptor for the client, with an interim answer (100 Continue). Errc::unsupported where
  // the connection is no unix socket.
  virtual Co<Result<void>> hand_over(int fd) = 0;
  // The client can take descriptors, and said so (the header Gantry-Hand-Over).
  virtual bool takes_descriptors() const { return false; }
  // Sends the head of a streaming response (its body is ignored). From now on a client that goes
  // away cancels this chain of coroutines. What handle() returns afterwards is ignored.
  virtual Co<Result<ResponseStream*>> start_stream(Response head) = 0;
  // For calls that wait long and change nothing: a client that goes away cancels this chain
  // (is_cancelled(), base/co.h). Without it a request is carried through whoever is left.
  virtual void cancel_when_closed() = 0;
  // Whether the client has closed its end, as far as the kernel knows; what it sent before may be
  // unread yet.
  virtual bool is_closed() = 0;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // The answer to who may not ask, before the body is read; nullopt: handle() is to.
  virtual std::optional<Response> turn_away(const Request& /*head*/, const Peer& /*peer*/) {
    return std::nullopt;
  }
  virtual Co<Response> handle(Exchange& exchange) = 0;
};

// "Bad Request" and friends; "Unknown" for codes we never send.
std::string_view reason_phrase(unsigned status);
}  // namespace gantry::http
