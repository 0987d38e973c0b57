// A small internet for tests: "the host" (this process's own network namespace), "outside" (a
// namespace behind the host's uplink that knows no route to containers), and stand-ins for
// containers: processes that do nothing in namespaces of their own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/co.h"
#include "base/process_ref.h"
#include "base/unique_fd.h"
#include "network/bridge_network.h"

namespace gantry::testing {
// A process in a network namespace of its own, with loopback up. Gone with the object.
class Space {
 public:
  Space();
  ~Space();
  Space(const Space&) = delete;
  void kill();  // its namespace goes a moment later
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int net() const { return net_.get(); }
  // So that nobody but the process holds the namespace.
  void forget_net() { net_.reset(); }
  ProcessIdentity identity() const { return {pid_, 0, ""}; }

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_, net_;
};

// What the command printed, run by the shell in the namespace (-1: the host's); fails the test
// when it fails.
std::string shell(const std::string& command, int net = -1);
// Every link of the host and its whole ruleset, for before-and-after.
std::string host_state();

// Sockets that live in a namespace (-1: the host's).
UniqueFd udp_socket(int net, const std::string& address, uint16_t port);
UniqueFd tcp_listener(int net, uint16_t port, const std::string& address = "0.0.0.0");
// errno of the connect; 0 and a socket when it worked. ETIMEDOUT after `limit`.
struct Connection {
  int error = 0;
  UniqueFd socket;
};
Connection tcp_connect(int net, const std::string& address, uint16_t port,
                       std::chrono::milliseconds limit = std::chrono::milliseconds(400));
// A listener's next connection: the client's address as the server sees it ("" after 1 s).
std::string accepted_from(const UniqueFd& listener);
// Milliseconds until the answer, -1 without one.
double ping(int net, const std::string& address,
            std::chrono::milliseconds limit = std::chrono::milliseconds(1000));

// Runs one coroutine to its end on a loop.
class Loop {
 public:
  template <class T>
  T run(Co<T> task) {
    std::optional<T> out;
    asio::co_spawn(context_, keep(std::move(task), out), [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
    context_.restart();
    while (!out) context_.run_one();
    return std::move(*out);
  }
  asio::io_context& context() { return context_; }

 private:
  template <class T>
  static Co<void> keep(Co<T> task, std::optional<T>& out) {
    out.emplace(co_await std::move(task));
  }
  asio::io_context context_;
};

// 192.0.2.1 is the host, 192.0.2.2 outside.
class World : public ::testing::Test {
 protected:
  World();
  ~World() override;
  std::unique_ptr<BridgeNetwork> make_network(std::string subnet = "10.89.0.0/16");
  // Reserves, attaches; the lease.
  NetworkLease join(BridgeNetwork& network, const std::string& id, const Space& space,
                    std::vector<PortMapping> ports = {});
  void leave(BridgeNetwork& network, const std::string& id);
  static ContainerId id_of(const std::string& id) { return *ContainerId::parse(id); }

  Loop loop_;
  std::unique_ptr<Space> outside_;
};
}  // namespace gantry::testing
