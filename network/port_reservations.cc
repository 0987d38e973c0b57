#include "network/port_reservations.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/str.h"

namespace gantry {
namespace {
// KERNEL: SO_REUSEADDR lets the bind pass connections in TIME_WAIT; cleared afterwards, so that a
// second bind needs it on both sides and fails (tcp: inet_csk_get_port). A listener always wins.
Result<UniqueFd> bind_port(PortMapping::Protocol protocol, uint16_t port, Ipv4 address) {
  bool tcp = protocol == PortMapping::Protocol::tcp;
  UniqueFd fd(::socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "make a socket");
  int on = 1, off = 0, least = 0;
  if (tcp && port != 0) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Datagrams that no rule took (there should be none) shall not pile up.
  if (!tcp) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = address.network_order();
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    return Error::from_errno(errno, "bind");
  }
  if (tcp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
  return fd;
}

Result<uint16_t> port_of(const UniqueFd& socket) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return Error::from_errno(errno, "learn a free port");
  }
  return ntohs(name.sin_port);
}

Error bind_error(Error error, const PortMapping& mapping) {
  if (error.is_errno(EADDRINUSE)) {
    return Error(Errc::conflict, cat("network.ports: host port ", mapping.host_port, "/",
                                     to_string(mapping.protocol),
                                     " is in use by another process; choose another host port"));
  }
  if (error.is_errno(EADDRNOTAVAIL)) {
    return Error(Errc::invalid,
                 cat("network.ports: host_ip ", mapping.host_ip, " is no address of this host"));
  }
  return std::move(error).context("network.ports: reserve ", to_string(mapping));
}
}  // namespace

std::string_view to_string(PortMapping::Protocol protocol) {
  return protocol == PortMapping::Protocol::tcp ? "tcp" : "udp";
}

std::string to_string(const PortMapping& mapping) {
  return cat(mapping.host_ip, mapping.host_ip.empty() ? "" : ":", mapping.host_port, "->",
             mapping.container_port, "/", to_string(mapping.protocol));
}

Result<PortReservations::Key> PortReservations::key_of(const PortMapping& mapping) {
  if (mapping.container_port == 0) {
    return Error(Errc::invalid, cat("network.ports: ", to_string(mapping),
                                    ": port 0 does not exist; ports are 1 to 65535"));
  }
  Ipv4 address;
  if (!mapping.host_ip.empty()) {
    auto parsed = Ipv4::parse(mapping.host_ip);
    if (!parsed) return std::move(parsed).error().context("network.ports: host_ip");
    address = *parsed;
  }
  return Key{mapping.protocol, mapping.host_port, address};
}

Result<void> PortReservations::check_free(const Key& key) const {
  // Neighbours in the map: the same protocol and port with any address.
  for (auto it = held_.lower_bound(Key{key.protocol, key.port, Ipv4{}});
       it != held_.end() && it->first.protocol == key.protocol && it->first.port == key.port;
       ++it) {
    bool either_is_any = it->first.address == Ipv4{} || key.address == Ipv4{};
    if (it->first.address != key.address && !either_is_any) continue;
    const std::string& owner = it->second.owner;
    return Error(Errc::conflict,
                 cat("network.ports: host port ", key.port, "/", to_string(key.protocol),
                     " is published by container ", called_ ? called_(owner) : owner,
                     "; choose another host port"));
  }
  return Result<void>();
}

Result<std::vector<PortMapping>> PortReservations::reserve(std::string_view owner,
                                                           std::vector<PortMapping> ports) {
  std::vector<Key> done;
  for (PortMapping& mapping : ports) {
    auto result = [&]() -> Result<void> {
      Key key = GANTRY_TRY(key_of(mapping));
      GANTRY_TRY(check_free(key));
      auto socket = bind_port(key.protocol, key.port, key.address);
      if (!socket) return bind_error(std::move(socket).error(), mapping);
      if (key.port == 0) key.port = mapping.host_port = GANTRY_TRY(port_of(*socket));
      held_.emplace(key, Held{std::string(owner), std::move(*socket)});
      done.push_back(key);
      return Result<void>();
    }();
    if (result) continue;
    for (const Key& key : done) held_.erase(key);
    return std::move(result).error();
  }
  return ports;
}

std::vector<PortMapping> PortReservations::adopt(std::string_view owner,
                                                 const std::vector<PortMapping>& ports) {
  std::vector<PortMapping> without_socket;
  for (const PortMapping& mapping : ports) {
    auto key = key_of(mapping);
    // A damaged record: nothing of that name can be published.
    if (!key || key->port == 0) continue;
    auto socket = bind_port(key->protocol, key->port, key->address);
    if (!socket) without_socket.push_back(mapping);
    held_.emplace(*key, Held{std::string(owner), socket ? std::move(*socket) : UniqueFd()});
  }
  return without_socket;
}

void PortReservations::release(std::string_view owner) {
  std::erase_if(held_, [&](const auto& entry) { return entry.second.owner == owner; });
}
}  // namespace gantry
