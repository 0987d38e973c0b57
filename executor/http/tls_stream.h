// Inside of the HTTP server: TLS on one connection's socket. Not a public header.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "base/co.h"
#include "executor/http/tls.h"

namespace gantry::http {
// One read and one write may be under way at a time. Cancelling the socket's operations cancels
// them; nothing that was received is lost by that.
class TlsStream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  using Received = std::function<void(boost::system::error_code, size_t)>;
  virtual ~TlsStream() = default;
  // The client's certificate by its subject; empty: it showed none.
  virtual Co<std::string> handshake(boost::system::error_code& code) = 0;
  virtual Co<size_t> read(asio::mutable_buffer space, boost::system::error_code& code) = 0;
  virtual void read(asio::mutable_buffer space, Received received) = 0;
  virtual Co<size_t> write(const std::array<asio::const_buffer, 3>& bytes,
                           boost::system::error_code& code) = 0;
  // Says that no more comes, and waits until the client says the same.
  virtual Co<void> close() = 0;
};

// `context` may go before the stream; the socket must not.
std::unique_ptr<TlsStream> make_tls_stream(TlsContext& context, TlsStream::Socket& socket);
}  // namespace gantry::http
