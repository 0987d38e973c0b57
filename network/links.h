// Links, addresses and routes over rtnetlink: the few operations a bridge network is made of.
// Blocking; for the offload pool. All act in the network namespace of the socket they are given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "network/ipv4.h"
#include "network/netlink.h"

namespace gantry {
// Our links carry this group number ("gt"): the first of two marks that they are ours, set by the
// very message that makes them. The second is the alias.
inline constexpr uint32_t kLinkGroup = 0x6774;
// Our routes carry this protocol number.
inline constexpr uint8_t kRouteProtocol = 71;

struct Link {
  int index = 0;
  unsigned flags = 0;  // IFF_…
  uint8_t operstate = 0;
  uint32_t master = 0;
  uint32_t group = 0;
  uint32_t mtu = 0;
  std::string name, kind, alias;
  uint64_t received_bytes = 0, sent_bytes = 0;
  bool is_ours() const { return group == kLinkGroup; }
};

// nullopt: there is none of that name.
Result<std::optional<Link>> find_link(Netlink& socket, const std::string& name);
Result<std::vector<Link>> list_links(Netlink& socket);
// Fills `link` from an RTM_NEWLINK or RTM_DELLINK message. False: another kind of message.
bool parse_link(nlmsghdr* header, Link& link);

// Looks that do not wait. KERNEL: these ioctls read under RCU; netlink's answers wait for the lock
// of all links (RTNL), which a dying namespace holds for 20 ms and more at a time.
class LinkProbe {
 public:
  static Result<LinkProbe> open();         // of the calling thread's network namespace
  int index(std::string_view name) const;  // 0: there is none
  unsigned flags(std::string_view name) const;

 private:
  explicit LinkProbe(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

struct VethRequest {
  std::string name;       // host end
  std::string peer_name;  // "eth0"
  int peer_namespace_fd;  // where the other end is made
  MacAddress mac;         // host end's
  MacAddress peer_mac;
  uint32_t mtu;
  int bridge_index;  // the host end is born a port of it
};
// The host end is up, without a carrier until the other end is. errno EEXIST leaves nothing behind.
Result<void> create_veth(Netlink& socket, const VethRequest& request);
Result<void> create_bridge(Netlink& socket, const std::string& name, const MacAddress& mac,
                           uint32_t mtu);
// Alias, hairpin, no IPv6 address of its own.
Result<void> configure_port(Netlink& socket, const std::string& name, const std::string& alias);
Result<void> set_alias(Netlink& socket, int index, const std::string& alias);
Result<void> set_master(Netlink& socket, int index, int bridge_index);
// No IPv6 address of its own, and (for a container's end) what comes in by it is not forwarded.
// Before it has a carrier: IFF_UP in the same message would be done first.
enum class Forwarding { as_it_is, off };
Result<void> restrict_link(Netlink& socket, int index, Forwarding forwarding);
Result<void> set_up(Netlink& socket, int index);
// Slow: 20 ms and more each. Missing is success.
Result<void> remove_link(Netlink& socket, int index);

Result<void> add_address(Netlink& socket, int index, Ipv4 address, const Ipv4Subnet& subnet);
Result<void> add_default_route(Netlink& socket, int index, Ipv4 gateway);
Result<void> add_permanent_neighbour(Netlink& socket, int index, Ipv4 address,
                                     const MacAddress& mac);

struct UsedSubnet {
  Ipv4Subnet subnet;
  int link_index = 0;
  std::string what;  // "address" or "route", for messages
};
// Every IPv4 address of every link, and every route of every table but the default ones (and the
// halves 0.0.0.0/1 and 128.0.0.0/1 of VPNs).
Result<std::vector<UsedSubnet>> list_used_subnets(Netlink& socket);
// MTU of the link that the default route leaves by; 1500 without one.
Result<uint32_t> uplink_mtu(Netlink& socket);
}  // namespace gantry
