// Network: how containers get their links. One implementation so far: BridgeNetwork.
//
// Life of a membership: reserve (an address and host ports; nothing in the kernel but bound
// sockets) → attach (link, address, route, rules) → detach (all of it gone, address and ports
// free). The lease is what a record keeps; recover() takes the leases of all live containers and
// removes whatever else of ours it finds.
//
// Threads: every call from the loop; netlink and nftables work runs on the offload pool.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "base/co.h"
#include "base/process_ref.h"
#include "base/result.h"
#include "network/ipv4.h"

namespace gantry {
// What one container holds in a network.
struct NetworkLease {
  Ipv4 address;
  Ipv4Subnet subnet;
  std::vector<PortMapping> ports;
  Ipv4 gateway() const { return subnet.gateway(); }
  bool operator==(const NetworkLease& other) const;
};
// One line of text for a record, and back. Errc::corrupt.
std::string to_record(const NetworkLease& lease);
Result<NetworkLease> parse_lease(std::string_view text);

// As the container sees it.
struct LinkCounters {
  Bytes received = 0;
  Bytes sent = 0;
};

class Network {
 public:
  virtual ~Network() = default;

  // Errc::exhausted without a free address, Errc::conflict for a host port in use, Errc::invalid
  // for a wrong port; nothing is held then.
  virtual Co<Result<NetworkLease>> reserve(ContainerId id, std::vector<PortMapping> ports) = 0;
  // Precondition: reserved. The process has a network namespace of its own and waits. Completes
  // when the first packet would get through. After a failure nothing is left but the reservation.
  virtual Co<Result<void>> attach(ContainerId id, ProcessIdentity process, int pidfd) = 0;
  // Everything of this container gone; unknown ids and repeated calls succeed. On failure (a link
  // that will not go) the reservation is kept, and the next call tries again.
  virtual Co<Result<void>> detach(ContainerId id) = 0;
  virtual Co<Result<void>> recover(std::vector<std::pair<ContainerId, NetworkLease>> known) = 0;
  virtual Co<Result<LinkCounters>> counters(ContainerId id) = 0;
  // Puts back what an administrator or another program has taken away (rules, bridge, ports of
  // the bridge) as soon as it is seen; ends when cancelled. Any number may run; one does the work.
  virtual Co<Result<void>> maintain() = 0;
  // Removes what is shared by the containers (bridge, rules) when none is left.
  virtual Co<Result<void>> close() = 0;
};
}  // namespace gantry
