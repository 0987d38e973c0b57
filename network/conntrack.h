// ConnectionTable: forgetting tracked connections. A packet of one never meets the NAT rules again,
// so a UDP client that keeps sending would stick to a container that has gone, or to none.
//
// Threads: any (own mutex). Blocking; for the offload pool. The socket is kept: KERNEL: closing a
// netfilter socket waits 5 to 23 ms for RCU when something was deleted shortly before.
#pragma once

#include <functional>
#include <mutex>
#include <optional>

#include "api/types/container_spec.h"
#include "network/ipv4.h"
#include "network/netlink.h"

namespace gantry {
class ConnectionTable {
 public:
  // Every connection to or from the address of a container.
  Result<void> forget(Ipv4 container);
  // Every connection to this port of whatever host address.
  Result<void> forget(const PortMapping& published);

 private:
  // Adds to a request which connections it is about (CTA_FILTER).
  using Match = std::function<void(NetlinkMessage&)>;
  Result<void> forget_matching(const Match& match);
  Result<void> forget_one_by_one(const Match& match);
  // KERNEL: a filter finds connections since 5.9 and deletes them since 6.8; EINVAL before.
  bool can_delete_by_filter_ = true;
  std::mutex mutex_;
  std::optional<Netlink> socket_;  // made at the first use
};
}  // namespace gantry
