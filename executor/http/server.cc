#include "executor/http/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>

#include <algorithm>
#include <ctime>
#include <optional>
#include <set>
#include <tuple>

#include "base/scope.h"
#include "base/str.h"
#include "executor/http/clients.h"
#include "executor/http/connection.h"

namespace gantry::http {
using boost::system::error_code;

namespace {
constexpr std::chrono::milliseconds kAcceptPause{100};  // after EMFILE and friends
constexpr size_t kAcceptedAtOnce = 16;                  // however many come, others are served

Peer peer_of(int socket, int family) {
  Peer peer;
  if (family == AF_UNIX) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
      peer.credentials = {credentials.uid, credentials.gid, credentials.pid};
    }
    return peer;
  }
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    asio::ip::tcp::endpoint endpoint;
    endpoint.resize(size);
    std::copy_n(reinterpret_cast<const char*>(&address), size,
                reinterpret_cast<char*>(endpoint.data()));
    peer.address = cat(endpoint.address().to_string(), ":", endpoint.port());
  }
  return peer;
}
}  // namespace

// Accepting, the deadlines of all connections, and what they share.
class Server::Core final : public ServerState {
 public:
  Core(asio::any_io_executor executor, ServerLimits limits)
      : ServerState(std::move(limits)),
        clients_(limits_.held_bytes, limits_.held_bytes_each),
        executor_(executor),
        accepting_(executor),
        serving_(executor),
        deadline_moved_(executor),
        quiet_(executor) {}

  Result<void> serve(UniqueFd listener, Handler& handler, TlsContext* tls) {
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(listener.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
      return Error::from_errno(errno, "look at the listening socket");
    }
    // Many may wait behind one readiness: accept() until there is none.
    const int flags = ::fcntl(listener.get(), F_GETFL);
    if (flags < 0 || ::fcntl(listener.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
      return Error::from_errno(errno, "make the listening socket non-blocking");
    }
    asio::posix::stream_descriptor descriptor(executor_);
    error_code code;
    descriptor.assign(listener.get(), code);
    if (code) return Error({code.value(), std::system_category()}, "watch the listening socket");
    (void)listener.release();
    accepting_.spawn(accept_all(std::move(descriptor), handler, family, tls));
    if (!std::exchange(sweeping_, true)) serving_.spawn(sweep());
    return {};
  }

  Co<void> drain(Duration limit) {
    draining_ = true;
    co_await accepting_.close();
    const Time end = std::chrono::steady_clock::now() + limit;
    const auto all = connections_;
    for (Connection* connection : all) {
      if (connection->is_idle()) connection->expire();
      // Streams and waits have no end of their own.
      if (connection->is_interruptible()) serving_.cancel(connection->number());
    }
    while (active_ != 0 && std::chrono::steady_clock::now() < end) {
      co_await quiet_.wait(end - std::chrono::steady_clock::now());
    }
  }

  Co<void> close() {
    draining_ = true;
    co_await accepting_.close();
    co_await serving_.close();
  }

  // ServerState
  void deadline_changed(Time deadline) override {
    if (deadline < next_sweep_) deadline_moved_.notify();
  }
  void cancel(uint64_t number) override { serving_.cancel(number); }
  bool hold(const std::string& client, size_t bytes) override {
    return clients_.hold(client, bytes);
  }
  void release(const std::string& client, size_t bytes) override {
    clients_.release(client, bytes);
  }
  void request_began() override {
    ++active_;
    last_activity_ = std::chrono::steady_clock::now();
  }
  void request_ended() override {
    --active_;
    last_activity_ = std::chrono::steady_clock::now();
    if (active_ == 0 && draining_) quiet_.notify();
  }
  void handshake_failed() override { ++failed_handshakes_; }
  bool is_draining() const override { return draining_; }
  std::string_view date() override {
    const time_t now = ::time(nullptr);
    if (now != date_time_) {
      tm fields{};
      ::gmtime_r(&now, &fields);
      char text[64];
      date_ =
          std::string(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &fields));
      date_time_ = now;
    }
    return date_;
  }

  size_t connection_count() const { return connections_.size(); }
  size_t active() const { return active_; }
  uint64_t refused() const { return refused_; }
  uint64_t failed_handshakes() const { return failed_handshakes_; }
  Time last_activity() const { return last_activity_; }

 private:
  Co<void> accept_all(asio::posix::stream_descriptor listener, Handler& handler, int family,
                      TlsContext* tls) {
    size_t accepted = 0;
    while (!co_await is_cancelled()) {
      UniqueFd socket(::accept4(listener.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket) {
        take(std::move(socket), handler, family, tls);
        if (++accepted % kAcceptedAtOnce == 0) co_await asio::post(asio::use_awaitable);
      } else if (errno == EAGAIN) {
        error_code ignored;
        co_await listener.async_wait(asio::posix::descriptor_base::wait_read,
                                     asio::redirect_error(asio::use_awaitable, ignored));
      } else if (errno != ECONNABORTED && errno != EINTR) {
        // Out of descriptors or memory: what is open goes on.
        co_await sleep_for(kAcceptPause);
      }
    }
  }

  void take(UniqueFd socket, Handler& handler, int family, TlsContext* tls) {
    if (family != AF_UNIX) {
      const int on = 1;
      ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    Peer peer = peer_of(socket.get(), family);
    auto made =
        make_connection(executor_, std::move(socket), family, std::move(peer), handler, *this, tls);
    if (!made) return;  // closed: the client sees it
    std::shared_ptr<Connection> connection = std::move(made).value();
    const bool is_full = connections_.size() >= limits_.connections;
    refused_ += is_full ? 1 : 0;
    if (is_full && !make_room(connection->client())) {
      // Refusals are few at a time: a flood of them is dropped unanswered.
      if (refusing_ < 64) serving_.spawn(refuse(std::move(connection)));
      return;
    }
    enter(*connection);
    connection->set_number(serving_.spawn(run(connection)));
  }

  void enter(Connection& connection) {
    connections_.insert(&connection);
    clients_.connected(connection.client());
  }
  void leave(Connection& connection) {
    connections_.erase(&connection);
    clients_.disconnected(connection.client());
  }

  bool is_greedy(const std::string& client) const {
    return clients_.connections(client) >= std::max<size_t>(1, limits_.connections / 4);
  }

  // Ends a connection for another one of `newcomer`: what is idle, the longest first, and what a
  // greedy client has; who is greedy itself makes room for itself.
  bool make_room(const std::string& newcomer) {
    const bool is_own_fault = is_greedy(newcomer);
    using Rank = std::tuple<bool, bool, Time>;  // the least goes: greedy, idle, oldest
    std::optional<Rank> least;
    Connection* found = nullptr;
    for (Connection* connection : connections_) {
      const bool greedy = is_greedy(connection->client());
      const bool waits = connection->deadline() != Time::max();
      const bool idle = connection->is_idle() && waits;
      const bool may_go = is_own_fault
                              ? idle && connection->client() == newcomer
                              : idle || (greedy && (waits || connection->is_interruptible()));
      const Rank rank(!greedy, !idle, connection->deadline());
      if (!may_go || (least && *least <= rank)) continue;
      least = rank;
      found = connection;
    }
    if (found == nullptr) return false;
    if (found->deadline() != Time::max()) {
      found->expire();
    } else {
      serving_.cancel(found->number());
    }
    return true;
  }

  Co<void> run(std::shared_ptr<Connection> connection) {
    co_await connection->run();
    leave(*connection);
  }

  Co<void> refuse(std::shared_ptr<Connection> connection) {
    ++refusing_;
    enter(*connection);
    co_await connection->refuse();
    leave(*connection);
    --refusing_;
  }

  // One timer for every deadline: it runs when the earliest passes, not for each request.
  Co<void> sweep() {
    while (!co_await is_cancelled()) {
      const Time now = std::chrono::steady_clock::now();
      next_sweep_ = Time::max();
      const auto all = connections_;
      for (Connection* connection : all) {
        if (connection->deadline() <= now) {
          connection->expire();
        } else {
          next_sweep_ = std::min(next_sweep_, connection->deadline());
        }
      }
      co_await deadline_moved_.wait(
          next_sweep_ == Time::max() ? std::nullopt : std::optional<Duration>(next_sweep_ - now));
    }
  }

  Clients clients_;
  asio::any_io_executor executor_;
  Scope accepting_;
  Scope serving_;
  std::set<Connection*> connections_;
  size_t refusing_ = 0;
  uint64_t refused_ = 0, failed_handshakes_ = 0;
  size_t active_ = 0;
  bool draining_ = false;
  bool sweeping_ = false;
  Time last_activity_ = std::chrono::steady_clock::now();
  Time next_sweep_ = Time::max();
  Event deadline_moved_;
  Event quiet_;
  time_t date_time_ = 0;
  std::string date_;
};

Server::Server(asio::any_io_executor executor, ServerLimits limits)
    : core_(std::make_unique<Core>(std::move(executor), std::move(limits))) {}
Server::~Server() = default;

Result<void> Server::serve(UniqueFd listener, Handler& handler, TlsContext* tls) {
  return core_->serve(std::move(listener), handler, tls);
}
Co<void> Server::drain(Duration limit) { return core_->drain(limit); }
Co<void> Server::close() { return core_->close(); }
size_t Server::connection_count() const { return core_->connection_count(); }
size_t Server::active_request_count() const { return core_->active(); }
uint64_t Server::refused_count() const { return core_->refused(); }
uint64_t Server::failed_handshakes() const { return core_->failed_handshakes(); }
std::chrono::steady_clock::time_point Server::last_activity() const {
  return core_->last_activity();
}

Result<UniqueFd> listen_tcp(const std::string& address) {
  const Error bad(Errc::invalid,
                  cat("'", address, "': expected ADDRESS:PORT, for example 127.0.0.1:5050"));
  const size_t colon = address.rfind(':');
  uint16_t port = 0;
  if (colon == std::string::npos || !parse_number(address.substr(colon + 1), port)) return bad;
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  error_code code;
  const auto ip = asio::ip::make_address(host, code);
  if (code) return bad;
  const asio::ip::tcp::endpoint endpoint(ip, port);
  UniqueFd fd(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "make a TCP socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return Error::from_errno(errno, cat("listen on ", address));
  }
  return fd;
}

Result<std::string> local_address(int socket) {
  asio::ip::tcp::endpoint endpoint;
  socklen_t size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(socket, endpoint.data(), &size) != 0) {
    return Error::from_errno(errno, "look at a socket's address");
  }
  endpoint.resize(size);
  const std::string host = endpoint.address().to_string();
  return cat(endpoint.address().is_v6() ? cat("[", host, "]") : host, ":", endpoint.port());
}
}  // namespace gantry::http
