// A server on a thread of its own and clients that send and read raw bytes, for tests.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/use_future.hpp>

#include <regex>
#include <string>
#include <thread>

#include "base/sys.h"
#include "executor/http/server.h"

namespace gantry::http {
// A blocking client. Every read ends after ten seconds.
class Client {
 public:
  explicit Client(UniqueFd fd) : fd_(std::move(fd)) {}
  static Client connect(const std::string& path) {
    auto fd = sys::connect_unix(path, SOCK_STREAM);
    EXPECT_TRUE(fd) << path;
    return Client(std::move(fd).value());
  }

  Client& send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return *this;
  }
  // One recv(); empty at the end.
  std::string some() {
    pollfd poll{fd_.get(), POLLIN, 0};
    if (::poll(&poll, 1, 10'000) != 1) {
      ADD_FAILURE() << "nothing came for ten seconds";
      return {};
    }
    char buffer[65536];
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
  }
  // Everything up to the end of the connection.
  std::string all() {
    std::string out;
    for (std::string piece = some(); !piece.empty(); piece = some()) out += piece;
    return without_date(out);
  }
  // At least `size` bytes, dates replaced.
  std::string at_least(size_t size) {
    std::string out;
    while (out.size() < size) {
      const std::string piece = some();
      if (piece.empty()) break;
      out += piece;
    }
    return without_date(out);
  }
  // Until `mark` has come.
  std::string until(std::string_view mark) {
    std::string out;
    while (out.find(mark) == std::string::npos) {
      const std::string piece = some();
      if (piece.empty()) break;
      out += piece;
    }
    return without_date(out);
  }
  bool is_quiet(int milliseconds) {
    pollfd poll{fd_.get(), POLLIN, 0};
    return ::poll(&poll, 1, milliseconds) == 0;
  }
  void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }
  int fd() const { return fd_.get(); }

  static std::string without_date(const std::string& text) {
    static const std::regex date(
        "Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} "
        "[0-9]{2}:[0-9]{2}:[0-9]{2} GMT");
    return std::regex_replace(text, date, "Date: D");
  }

 private:
  UniqueFd fd_;
};

// Runs a server with `handler` on a unix socket (and on loopback TCP, when asked).
class ServerThread {
 public:
  explicit ServerThread(Handler& handler, ServerLimits limits = {}, bool tcp = false,
                        TlsContext* tls = nullptr)
      : server_(std::make_unique<Server>(context_.get_executor(), std::move(limits))) {
    char directory[] = "/tmp/gantry-http-XXXXXX";
    EXPECT_NE(::mkdtemp(directory), nullptr);
    directory_ = directory;
    auto listener = sys::listen_unix(path(), SOCK_STREAM, 0600, 128);
    EXPECT_TRUE(listener);
    EXPECT_TRUE(server_->serve(std::move(listener).value(), handler));
    if (tcp) {
      auto socket = listen_tcp("127.0.0.1:0");
      EXPECT_TRUE(socket);
      address_ = local_address(socket->get()).value();
      EXPECT_TRUE(server_->serve(std::move(socket).value(), handler, tls));
    }
    thread_ = std::thread([this] { context_.run(); });
  }
  ~ServerThread() { stop(); }
  // Before what its handlers use goes.
  void stop() {
    if (!thread_.joinable()) return;
    on_loop(server_->close());
    work_.reset();
    thread_.join();
    ::unlink(path().c_str());
    ::rmdir(directory_.c_str());
  }
  asio::any_io_executor executor() { return context_.get_executor(); }
  std::string path() const { return directory_ + "/s"; }
  const std::string& address() const { return address_; }
  Server& server() { return *server_; }
  Client client() const { return Client::connect(path()); }
  Client tcp_client() const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port =
        htons(static_cast<uint16_t>(std::stoi(address_.substr(address_.find(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return Client(std::move(fd));
  }
  void on_loop(Co<void> work) { asio::co_spawn(context_, std::move(work), asio::use_future).get(); }
  size_t connections() {
    return on_loop_get([this] { return server_->connection_count(); });
  }
  size_t active_requests() {
    return on_loop_get([this] { return server_->active_request_count(); });
  }

  // What `f` returns, run on the server's thread.
  template <class F>
  std::invoke_result_t<F> on_loop_get(F f) {
    return asio::post(context_, asio::use_future(f)).get();
  }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::unique_ptr<Server> server_;
  std::string directory_, address_;
  std::thread thread_;
};
}  // namespace gantry::http
