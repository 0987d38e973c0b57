// Forgetting connections: a packet of a tracked connection never meets the NAT rules again, so a
// UDP client that keeps sending would stick to a container that has gone, or to none.
// Blocking; for the offload pool. `socket`: NETLINK_NETFILTER.
#pragma once

#include <cstdint>

#include "api/types/container_spec.h"
#include "network/ipv4.h"
#include "network/netlink.h"

namespace gantry {
// Every connection to or from the address of a container.
Result<void> forget_connections(Netlink& socket, Ipv4 container);
// Every connection to this port of whatever host address.
Result<void> forget_connections(Netlink& socket, const PortMapping& published);
}  // namespace gantry
