// PortReservations: host ports of published containers, held by bound sockets.
//
// A DNAT rule takes the packets of a port without the host's sockets noticing, so a port is held
// by a socket of ours as long as it is published: whoever else wants it gets EADDRINUSE, and we
// notice when somebody else has it. The sockets do not listen: a connection that no rule took is
// refused at once. They die with the executor and are bound again by adopt().
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_spec.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "network/ipv4.h"

namespace gantry {
class PortReservations {
 public:
  // What an owner is called in messages.
  using Called = std::function<std::string(const std::string& owner)>;
  PortReservations() = default;
  explicit PortReservations(Called called) : called_(std::move(called)) {}
  // All or nothing. Errc::invalid names the wrong field; Errc::conflict names who has the port (a
  // container of ours, or "another process"). The answer is `ports` with a free host port wherever
  // there was 0.
  Result<std::vector<PortMapping>> reserve(std::string_view owner, std::vector<PortMapping> ports);
  // For a container that runs already: its rules exist, so a port that somebody bound meanwhile is
  // kept without a socket. Returns those.
  std::vector<PortMapping> adopt(std::string_view owner, const std::vector<PortMapping>& ports);
  void release(std::string_view owner);
  size_t size() const { return held_.size(); }

 private:
  struct Key {
    PortMapping::Protocol protocol;
    uint16_t port;
    Ipv4 address;  // 0.0.0.0: every local one
    auto operator<=>(const Key&) const = default;
  };
  struct Held {
    std::string owner;
    UniqueFd socket;
  };
  static Result<Key> key_of(const PortMapping& mapping);
  Result<void> check_free(const Key& key) const;
  Called called_;
  std::map<Key, Held> held_;
};

// "127.0.0.1:8080->80/tcp", for messages.
std::string to_string(const PortMapping& mapping);
std::string_view to_string(PortMapping::Protocol protocol);
}  // namespace gantry
