#include "network/bridge_host.h"

#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/failpoint.h"
#include "base/str.h"
#include "network/container_files.h"
#include "network/net_namespace.h"

namespace gantry {
namespace {
constexpr size_t kMaxAlias = 255;  // IFALIASZ - 1
constexpr std::string_view kContainerLink = "eth0";

// Some hosts have no IPv6: the file is not there, and neither is what it would forbid.
Result<void> unless_missing(Result<void> result) {
  if (!result && result.error().is_errno(ENOENT)) return Result<void>();
  return result;
}

Result<void> set_container_sysctls() {
  GANTRY_TRY(write_net_sysctl("ipv4/ping_group_range", "0\t2147483647"));
  GANTRY_TRY(write_net_sysctl("ipv4/ip_unprivileged_port_start", "0"));
  // ORDER: before the link is up: a router advertisement could come with the first packet.
  return unless_missing(write_net_sysctl(cat("ipv6/conf/", kContainerLink, "/accept_ra"), "0"));
}

Result<void> configure_container_end(const NetworkLease& lease) {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  int link = GANTRY_TRY(LinkProbe::open()).index(kContainerLink);
  if (link == 0) return Error(Errc::not_found, "the container's end of the link is not there");
  GANTRY_TRY(set_container_sysctls());
  // A fresh namespace inherits the host's IPv4 settings (net.core.devconf_inherit_init_net): a
  // container must not route because its host does. Not by the sysctl ip_forward: its write spins
  // while somebody else has the lock of all links.
  GANTRY_TRY(restrict_link(socket, link, Forwarding::off));
  GANTRY_TRY(set_up(socket, link));
  GANTRY_TRY(add_address(socket, link, lease.address, lease.subnet));
  GANTRY_TRY(add_default_route(socket, link, lease.gateway()));
  return add_permanent_neighbour(socket, link, lease.gateway(), mac_of(lease.gateway()));
}

// What nobody's subnet may cover: where the host's names are resolved.
void add_nameservers(std::vector<UsedSubnet>& used) {
  for (const std::string& server : host_nameservers()) {
    auto address = Ipv4::parse(server);
    if (address) used.push_back({{*address, 32}, 0, cat("the nameserver ", server)});
  }
}
}  // namespace

std::string bridge_instance(std::string_view runtime_dir) {
  return runtime_dir == "/run/gantry" ? std::string() : sha256_hex(runtime_dir, 6);
}

std::string link_name(std::string_view instance, const ContainerId& id) {
  return "gt-" + sha256_hex(cat(instance, ":", id.to_string()), 11);
}

BridgeHost::BridgeHost(BridgeOptions options)
    : options_(std::move(options)),
      bridge_(options_.instance.empty() ? "gantry0" : "gantry-" + options_.instance),
      nft_(options_.instance.empty() ? "gantry" : "gantry-" + options_.instance, bridge_) {
  GANTRY_CHECK(bridge_.size() < IFNAMSIZ);
  auto probe = LinkProbe::open();
  if (probe) probe_ = std::move(*probe);
}

std::string BridgeHost::alias(const ContainerId& id) const {
  return cat("gantry:", options_.instance, ":", id.to_string()).substr(0, kMaxAlias);
}

// The second case: made by an executor that died before it could give it an alias.
bool BridgeHost::is_of_this_instance(const Link& link, int bridge_index) const {
  if (!link.is_ours() || link.kind != "veth") return false;
  if (link.alias.starts_with(cat("gantry:", options_.instance, ":"))) return true;
  return link.alias.empty() && bridge_index != 0 && link.master == uint32_t(bridge_index);
}

Result<Ipv4Subnet> BridgeHost::choose_subnet() {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  std::vector<UsedSubnet> used = GANTRY_TRY(list_used_subnets(socket));
  auto own = GANTRY_TRY(find_link(socket, bridge_));
  std::erase_if(used, [&](const auto& entry) { return own && entry.link_index == own->index; });
  add_nameservers(used);
  auto overlap = [&](const Ipv4Subnet& candidate) {
    return std::ranges::find_if(
        used, [&](const auto& entry) { return entry.subnet.overlaps(candidate); });
  };
  if (options_.subnet) {
    auto found = overlap(*options_.subnet);
    if (found == used.end()) return *options_.subnet;
    return Error(Errc::conflict, cat("network subnet ", options_.subnet->to_string(), " overlaps ",
                                     found->what, " of this host; choose another"));
  }
  for (uint32_t second = 89; second <= 255; ++second) {
    Ipv4Subnet candidate{{10u << 24 | second << 16}, 16};
    if (overlap(candidate) == used.end()) return candidate;
  }
  for (uint32_t second = 16; second < 32; ++second) {
    Ipv4Subnet candidate{{172u << 24 | second << 16}, 16};
    if (overlap(candidate) == used.end()) return candidate;
  }
  return Error(Errc::exhausted,
               "every private subnet overlaps something of this host; configure "
               "one for the bridge network");
}

// ---- What is shared --------------------------------------------------------------------------

Result<Link> BridgeHost::ensure_bridge(Netlink& socket, const Ipv4Subnet& subnet) {
  auto link = GANTRY_TRY(find_link(socket, bridge_));
  if (link && (link->kind != "bridge" || !link->is_ours())) {
    return Error(Errc::conflict, cat("link ", bridge_, " of this host is not Gantry's (a ",
                                     link->kind.empty() ? "device" : link->kind,
                                     " made by something else); rename or remove it"));
  }
  if (!link) {
    uint32_t mtu = GANTRY_TRY(uplink_mtu(socket));
    GANTRY_TRY(create_bridge(socket, bridge_, mac_of(subnet.gateway()), mtu));
    GANTRY_FAILPOINT("network.after_bridge");
    link = GANTRY_TRY(find_link(socket, bridge_));
    if (!link) return Error(Errc::conflict, cat("link ", bridge_, " was removed at once"));
    GANTRY_TRY(set_alias(socket, link->index, cat("gantry:", options_.instance, ":bridge")));
  }
  GANTRY_TRY(unless_missing(write_net_sysctl(cat("ipv6/conf/", bridge_, "/accept_ra"), "0")));
  GANTRY_TRY(add_address(socket, link->index, subnet.gateway(), subnet));
  GANTRY_TRY(restrict_link(socket, link->index, Forwarding::as_it_is));
  GANTRY_TRY(set_up(socket, link->index));
  return *link;
}

Result<Link> BridgeHost::ensure_shared(Netlink& socket, const Ipv4Subnet& subnet) {
  has_shared_ = true;
  Link link = GANTRY_TRY(ensure_bridge(socket, subnet));
  for (const std::string& name : attached_) {
    auto port = GANTRY_TRY(find_link(socket, name));
    if (!port || port->master == uint32_t(link.index)) continue;
    // One that has just gone is none of our trouble.
    auto joined = set_master(socket, port->index, link.index);
    if (!joined && !joined.error().is_errno(ENODEV)) return std::move(joined).error();
  }
  GANTRY_TRY(nft_.write_all(subnet));
  // ORDER: after the rules: they are the wall between networks, and the guard of 127/8.
  GANTRY_TRY(write_net_sysctl(cat("ipv4/conf/", bridge_, "/route_localnet"), "1"));
  GANTRY_TRY(write_net_sysctl("ipv4/ip_forward", "1"));
  bridge_link_ = link;
  return link;
}

// The usual case is that everything is there: two looks.
Result<Link> BridgeHost::shared_bridge(Netlink& socket, const Ipv4Subnet& subnet) {
  bool is_ready = probe_ && bridge_link_ && probe_->index(bridge_) == bridge_link_->index &&
                  (probe_->flags(bridge_) & IFF_UP) != 0 && GANTRY_TRY(nft_.exists());
  if (!is_ready) return ensure_shared(socket, subnet);
  GANTRY_TRY(write_net_sysctl("ipv4/ip_forward", "1"));
  Link bridge = *bridge_link_;
  bridge.operstate = (probe_->flags(bridge_) & IFF_RUNNING) != 0 ? IF_OPER_UP : IF_OPER_DOWN;
  return bridge;
}

Result<bool> BridgeHost::repair(const Ipv4Subnet& subnet) {
  std::lock_guard lock(mutex_);
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  auto link = GANTRY_TRY(find_link(socket, bridge_));
  if (link && (link->flags & IFF_UP) != 0 && GANTRY_TRY(nft_.is_whole())) return false;
  GANTRY_TRY(ensure_shared(socket, subnet));
  return true;
}

Result<void> BridgeHost::remove_shared() {
  std::lock_guard lock(mutex_);
  // ORDER: the bridge first: while it is there, so is the guard of 127/8.
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  auto link = GANTRY_TRY(find_link(socket, bridge_));
  if (link && link->is_ours()) GANTRY_TRY(remove_link(socket, link->index));
  GANTRY_TRY(nft_.remove());
  bridge_link_.reset();
  has_shared_ = false;
  return Result<void>();
}

// ---- One container ---------------------------------------------------------------------------

Result<void> BridgeHost::make_veth(Netlink& socket, const VethRequest& request) {
  auto made = create_veth(socket, request);
  if (!made && made.error().is_errno(EXFULL)) {
    return Error(Errc::exhausted, cat("bridge ", bridge_,
                                      " is full: the kernel's limit is 1023 "
                                      "containers on one bridge"));
  }
  if (made || !made.error().is_errno(EEXIST)) {
    return std::move(made).context("create link ", request.name);
  }
  auto stale = GANTRY_TRY(find_link(socket, request.name));
  if (stale && !is_of_this_instance(*stale, request.bridge_index)) {
    return Error(Errc::conflict,
                 cat("link ", request.name, " of this host is not ours (",
                     stale->alias.empty() ? "made by something else" : "\"" + stale->alias + "\"",
                     "); rename or remove it"));
  }
  if (stale) GANTRY_TRY(remove_link(socket, stale->index));
  return create_veth(socket, request).context("create link ", request.name);
}

Result<std::vector<std::string>> BridgeHost::make_link(Netlink& socket, const ContainerId& id,
                                                       const NetworkLease& lease,
                                                       int namespace_fd) {
  std::string name = link_of(id);
  std::vector<std::string> coming_up{name};
  {
    std::lock_guard lock(mutex_);
    Link bridge = GANTRY_TRY(shared_bridge(socket, lease.subnet));
    MacAddress host_mac = mac_of(lease.address);
    host_mac[1] ^= 1;  // differs from the container's end
    GANTRY_TRY(make_veth(socket, {name, std::string(kContainerLink), namespace_fd, host_mac,
                                  mac_of(lease.address), bridge.mtu, bridge.index}));
    attached_.insert(name);
    // KERNEL: a bridge has a carrier, and then a queue, from its first forwarding port on.
    if (bridge.operstate != IF_OPER_UP) coming_up.push_back(bridge_);
  }
  GANTRY_FAILPOINT_TRY("network.after_veth");
  GANTRY_TRY(configure_port(socket, name, alias(id)));
  GANTRY_TRY(in_net_namespace(namespace_fd, [&] { return configure_container_end(lease); }));
  return coming_up;
}

Result<void> BridgeHost::publish(const NetworkLease& lease) {
  if (lease.ports.empty()) return Result<void>();
  GANTRY_TRY(nft_.publish(lease));
  GANTRY_FAILPOINT_TRY("network.after_publish");
  for (const PortMapping& port : lease.ports) {
    if (port.protocol != PortMapping::Protocol::udp) continue;
    // A client that has been sending since before is remembered as "not translated".
    GANTRY_TRY(connections_.forget(port));
  }
  return Result<void>();
}

Result<BridgeHost::Attached> BridgeHost::attach(const ContainerId& id, const NetworkLease& lease,
                                                int pidfd, pid_t pid) {
  UniqueFd namespace_fd = GANTRY_TRY(open_net_namespace(pidfd, pid));
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  Netlink events = GANTRY_TRY(Netlink::subscribe(NETLINK_ROUTE, {RTNLGRP_LINK}));
  auto made = make_link(socket, id, lease, namespace_fd.get());
  auto done = made ? publish(lease) : Result<void>(made.error());
  if (done) return Attached{std::move(events), std::move(*made)};
  // Undo; what went wrong first is what is told.
  bool is_made = withdraw(id, lease).value_or(false);
  if (is_made) remove_leftover(id).ignore("the first error is told; cleanup tries again");
  return std::move(done).error();
}

Result<bool> BridgeHost::withdraw(const ContainerId& id, const NetworkLease& lease) {
  bool was_made = false;
  {
    std::lock_guard lock(mutex_);
    was_made = attached_.erase(link_of(id)) != 0;
  }
  GANTRY_TRY(nft_.unpublish(lease));
  GANTRY_FAILPOINT_TRY("network.after_unpublish");
  GANTRY_TRY(connections_.forget(lease.address));
  return was_made;
}

bool BridgeHost::has_link(const std::string& link) const {
  return probe_ && probe_->index(link) != 0;
}

Result<void> BridgeHost::remove_leftover(const ContainerId& id) {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  auto link = GANTRY_TRY(find_link(socket, link_of(id)));
  // No alias: made by an attach that was interrupted.
  bool is_ours = link && link->is_ours() && (link->alias.empty() || is_of_this_instance(*link, 0));
  return is_ours ? remove_link(socket, link->index) : Result<void>();
}

Result<LinkCounters> BridgeHost::counters(const std::string& link) {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  auto found = GANTRY_TRY(find_link(socket, link));
  if (!found) return Error(Errc::not_found, cat("link ", link, " is not there"));
  // What the host's end sends is what the container receives.
  return LinkCounters{found->sent_bytes, found->received_bytes};
}

Result<void> BridgeHost::recover(const std::vector<std::pair<ContainerId, NetworkLease>>& known) {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  std::set<std::string> names;
  for (const auto& [id, lease] : known) names.insert(link_of(id));
  std::vector<Link> links = GANTRY_TRY(list_links(socket));
  auto bridge = std::ranges::find(links, bridge_, &Link::name);
  int bridge_index = bridge == links.end() ? 0 : bridge->index;
  for (const Link& link : links) {
    if (!is_of_this_instance(link, bridge_index) || names.contains(link.name)) continue;
    GANTRY_TRY(remove_link(socket, link.index));
  }
  if (known.empty()) return remove_shared();
  std::lock_guard lock(mutex_);
  attached_ = std::move(names);
  for (const auto& [id, lease] : known) nft_.adopt(lease);
  GANTRY_TRY(ensure_shared(socket, known.front().second.subnet));
  return Result<void>();
}
}  // namespace gantry
