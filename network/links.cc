#include "network/links.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/str.h"

namespace gantry {
namespace {
ifinfomsg link_header(int index, unsigned flags = 0, unsigned change = 0) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  header.ifi_flags = flags;
  header.ifi_change = change;
  return header;
}

// KERNEL: without it the link gets fe80::… on its own as soon as it has a carrier; router
// advertisements could then reach it. Processed after IFF_UP of the same message (do_setlink).
void no_ipv6_address(NetlinkMessage& spec) {
  spec.nest(AF_INET6, [](NetlinkMessage& inet6) {
    inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  });
}

std::string text_of(nlattr* attribute) {
  return attribute != nullptr ? std::string(nla_get_string(attribute)) : std::string();
}
}  // namespace

bool parse_link(nlmsghdr* header, Link& link) {
  if (header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK) return false;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) return false;
  auto* info = static_cast<ifinfomsg*>(nlmsg_data(header));
  auto number = [&](int type) { return attributes[type] ? nla_get_u32(attributes[type]) : 0; };
  link = Link{};
  link.index = info->ifi_index;
  link.flags = info->ifi_flags;
  link.master = number(IFLA_MASTER);
  link.group = number(IFLA_GROUP);
  link.mtu = number(IFLA_MTU);
  link.name = text_of(attributes[IFLA_IFNAME]);
  link.alias = text_of(attributes[IFLA_IFALIAS]);
  if (attributes[IFLA_OPERSTATE]) link.operstate = nla_get_u8(attributes[IFLA_OPERSTATE]);
  if (nlattr* stats = attributes[IFLA_STATS64]) {
    rtnl_link_stats64 counters{};
    nla_memcpy(&counters, stats, sizeof counters);
    link.received_bytes = counters.rx_bytes;
    link.sent_bytes = counters.tx_bytes;
  }
  if (attributes[IFLA_LINKINFO]) {
    nlattr* kind[IFLA_INFO_MAX + 1];
    if (nla_parse_nested(kind, IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) == 0) {
      link.kind = text_of(kind[IFLA_INFO_KIND]);
    }
  }
  return true;
}

Result<std::optional<Link>> find_link(Netlink& socket, const std::string& name) {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header(link_header(0)).text(IFLA_IFNAME, name);
  std::optional<Link> found;
  auto done = socket.request(message, [&](nlmsghdr* header) {
    Link link;
    if (parse_link(header, link)) found = std::move(link);
  });
  if (!done && !done.error().is_errno(ENODEV)) {
    return std::move(done).error().context("look up link ", name);
  }
  return found;
}

Result<std::vector<Link>> list_links(Netlink& socket) {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header(link_header(0));
  std::vector<Link> links;
  auto done = socket.dump(
      message, [&] { links.clear(); },
      [&](nlmsghdr* header) {
        Link link;
        if (parse_link(header, link)) links.push_back(std::move(link));
      });
  if (!done) return std::move(done).error().context("list links");
  return links;
}

Result<LinkProbe> LinkProbe::open() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "open a socket");
  return LinkProbe(std::move(fd));
}

int LinkProbe::index(std::string_view name) const {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return ::ioctl(fd_.get(), SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : 0;
}

unsigned LinkProbe::flags(std::string_view name) const {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return ::ioctl(fd_.get(), SIOCGIFFLAGS, &request) == 0 ? static_cast<uint16_t>(request.ifr_flags)
                                                         : 0;
}

// KERNEL: IFF_UP in the peer's header fails with ENOTCONN; IFALIAS in a create is ignored (6.18).
Result<void> create_veth(Netlink& socket, const VethRequest& request) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header(link_header(0, IFF_UP, IFF_UP))
      .text(IFLA_IFNAME, request.name)
      .put(IFLA_ADDRESS, request.mac.data(), request.mac.size())
      .u32(IFLA_MTU, request.mtu)
      .u32(IFLA_GROUP, kLinkGroup)
      .u32(IFLA_MASTER, static_cast<uint32_t>(request.bridge_index));
  message.nest(IFLA_LINKINFO, [&](NetlinkMessage& info) {
    info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, [&](NetlinkMessage& data) {
      data.nest(VETH_INFO_PEER, [&](NetlinkMessage& peer) {
        peer.header(link_header(0))
            .text(IFLA_IFNAME, request.peer_name)
            .put(IFLA_ADDRESS, request.peer_mac.data(), request.peer_mac.size())
            .u32(IFLA_MTU, request.mtu)
            .u32(IFLA_NET_NS_FD, static_cast<uint32_t>(request.peer_namespace_fd));
      });
    });
  });
  return socket.request(message);
}

Result<void> create_bridge(Netlink& socket, const std::string& name, const MacAddress& mac,
                           uint32_t mtu) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header(link_header(0))
      .text(IFLA_IFNAME, name)
      .put(IFLA_ADDRESS, mac.data(), mac.size())
      .u32(IFLA_MTU, mtu)
      .u32(IFLA_GROUP, kLinkGroup);
  message.nest(IFLA_LINKINFO, [](NetlinkMessage& info) { info.text(IFLA_INFO_KIND, "bridge"); });
  return socket.request(message).context("create bridge ", name);
}

Result<void> configure_port(Netlink& socket, const std::string& name, const std::string& alias) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(link_header(0)).text(IFLA_IFNAME, name).text(IFLA_IFALIAS, alias);
  message.nest(IFLA_LINKINFO, [](NetlinkMessage& info) {
    info.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, [](NetlinkMessage& port) {
      // A container that reaches its own published port comes back by the same port. Needed
      // where bridge-nf-call-iptables=1, which may change at any time; harmless otherwise.
      port.u8(IFLA_BRPORT_MODE, 1).u8(IFLA_BRPORT_GUARD, 1);
    });
  });
  message.nest(IFLA_AF_SPEC, no_ipv6_address);
  return socket.request(message).context("configure link ", name);
}

Result<void> set_alias(Netlink& socket, int index, const std::string& alias) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(link_header(index)).text(IFLA_IFALIAS, alias);
  return socket.request(message).context("set the alias of link ", index);
}

Result<void> set_master(Netlink& socket, int index, int bridge_index) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(link_header(index)).u32(IFLA_MASTER, static_cast<uint32_t>(bridge_index));
  return socket.request(message).context("make link ", index, " a port of the bridge");
}

Result<void> restrict_link(Netlink& socket, int index, Forwarding forwarding) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(link_header(index));
  message.nest(IFLA_AF_SPEC, [&](NetlinkMessage& spec) {
    if (forwarding == Forwarding::off) {
      spec.nest(AF_INET, [](NetlinkMessage& inet) {
        inet.nest(IFLA_INET_CONF,
                  [](NetlinkMessage& conf) { conf.u32(IPV4_DEVCONF_FORWARDING, 0); });
      });
    }
    no_ipv6_address(spec);
  });
  return socket.request(message).context("restrict link ", index);
}

Result<void> set_up(Netlink& socket, int index) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(link_header(index, IFF_UP, IFF_UP));
  return socket.request(message).context("bring link ", index, " up");
}

Result<void> remove_link(Netlink& socket, int index) {
  NetlinkMessage message(RTM_DELLINK, 0);
  message.header(link_header(index));
  auto done = socket.request(message);
  if (!done && done.error().is_errno(ENODEV)) return Result<void>();
  return std::move(done).context("remove link ", index);
}

Result<void> add_address(Netlink& socket, int index, Ipv4 address, const Ipv4Subnet& subnet) {
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = static_cast<uint8_t>(subnet.prefix);
  header.ifa_scope = RT_SCOPE_UNIVERSE;
  header.ifa_index = static_cast<unsigned>(index);
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  message.header(header)
      .u32(IFA_LOCAL, address.network_order())
      .u32(IFA_ADDRESS, address.network_order())
      .u32(IFA_BROADCAST, subnet.broadcast().network_order());
  return socket.request(message).context("add address ", address.to_string());
}

Result<void> add_default_route(Netlink& socket, int index, Ipv4 gateway) {
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = kRouteProtocol;
  header.rtm_scope = RT_SCOPE_UNIVERSE;
  header.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  message.header(header)
      .u32(RTA_GATEWAY, gateway.network_order())
      .u32(RTA_OIF, static_cast<uint32_t>(index));
  return socket.request(message).context("add the default route by ", gateway.to_string());
}

Result<void> add_permanent_neighbour(Netlink& socket, int index, Ipv4 address,
                                     const MacAddress& mac) {
  ndmsg header{};
  header.ndm_family = AF_INET;
  header.ndm_ifindex = index;
  header.ndm_state = NUD_PERMANENT;
  NetlinkMessage message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  message.header(header)
      .u32(NDA_DST, address.network_order())
      .put(NDA_LLADDR, mac.data(), mac.size());
  return socket.request(message).context("add the neighbour ", address.to_string());
}

namespace {
void parse_address(nlmsghdr* header, std::vector<UsedSubnet>& into) {
  nlattr* attributes[IFA_MAX + 1];
  if (header->nlmsg_type != RTM_NEWADDR ||
      nlmsg_parse(header, sizeof(ifaddrmsg), attributes, IFA_MAX, nullptr) < 0) {
    return;
  }
  auto* info = static_cast<ifaddrmsg*>(nlmsg_data(header));
  nlattr* local = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  if (info->ifa_family != AF_INET || local == nullptr) return;
  Ipv4 address{ntohl(nla_get_u32(local))};
  into.push_back({Ipv4Subnet::of(address, info->ifa_prefixlen), static_cast<int>(info->ifa_index),
                  cat("the address ", address.to_string(), "/", info->ifa_prefixlen)});
}

struct Route {
  Ipv4Subnet destination;
  int link_index = 0;
  uint32_t priority = 0;
};

std::optional<Route> parse_route(nlmsghdr* header) {
  nlattr* attributes[RTA_MAX + 1];
  if (header->nlmsg_type != RTM_NEWROUTE ||
      nlmsg_parse(header, sizeof(rtmsg), attributes, RTA_MAX, nullptr) < 0) {
    return std::nullopt;
  }
  auto* info = static_cast<rtmsg*>(nlmsg_data(header));
  if (info->rtm_family != AF_INET || info->rtm_type != RTN_UNICAST) return std::nullopt;
  auto number = [&](int type) { return attributes[type] ? nla_get_u32(attributes[type]) : 0; };
  return Route{Ipv4Subnet::of(Ipv4{ntohl(number(RTA_DST))}, info->rtm_dst_len),
               static_cast<int>(number(RTA_OIF)), number(RTA_PRIORITY)};
}

Result<std::vector<Route>> list_routes(Netlink& socket) {
  rtmsg header{};
  header.rtm_family = AF_INET;
  NetlinkMessage message(RTM_GETROUTE, 0);
  message.header(header);
  std::vector<Route> routes;
  auto done = socket.dump(
      message, [&] { routes.clear(); },
      [&](nlmsghdr* reply) {
        if (auto route = parse_route(reply)) routes.push_back(*route);
      });
  if (!done) return std::move(done).error().context("list routes");
  return routes;
}
}  // namespace

Result<std::vector<UsedSubnet>> list_used_subnets(Netlink& socket) {
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  NetlinkMessage message(RTM_GETADDR, 0);
  message.header(header);
  std::vector<UsedSubnet> used;
  auto done = socket.dump(
      message, [&] { used.clear(); }, [&](nlmsghdr* reply) { parse_address(reply, used); });
  if (!done) return std::move(done).error().context("list addresses");
  for (const Route& route : GANTRY_TRY(list_routes(socket))) {
    if (route.destination.prefix <= 1) continue;
    used.push_back(
        {route.destination, route.link_index, cat("the route to ", route.destination.to_string())});
  }
  return used;
}

Result<uint32_t> uplink_mtu(Netlink& socket) {
  std::optional<Route> best;
  for (const Route& route : GANTRY_TRY(list_routes(socket))) {
    if (route.destination.prefix != 0 || route.link_index == 0) continue;
    if (!best || route.priority < best->priority) best = route;
  }
  if (!best) return 1500;
  for (const Link& link : GANTRY_TRY(list_links(socket))) {
    if (link.index == best->link_index) return std::min<uint32_t>(link.mtu, 65535);
  }
  return 1500;
}
}  // namespace gantry
