#include "base/str.h"
#include "network/network.h"
#include "network/port_reservations.h"

namespace gantry {
namespace {
// Cuts the text before `separator` off the front; all of it when there is none.
std::string_view next_piece(std::string_view& rest, char separator) {
  size_t end = rest.find(separator);
  std::string_view piece = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return piece;
}

Result<PortMapping> parse_mapping(std::string_view text) {
  PortMapping mapping{};
  std::string_view protocol = next_piece(text, ',');
  std::string_view host_ip = next_piece(text, ',');
  std::string_view host_port = next_piece(text, ',');
  if ((protocol != "tcp" && protocol != "udp") || !parse_number(host_port, mapping.host_port) ||
      !parse_number(text, mapping.container_port)) {
    return Error(Errc::corrupt, "a published port of a network lease does not parse");
  }
  mapping.protocol = protocol == "tcp" ? PortMapping::Protocol::tcp : PortMapping::Protocol::udp;
  mapping.host_ip = host_ip;
  return mapping;
}
}  // namespace

bool NetworkLease::operator==(const NetworkLease& other) const {
  return to_record(*this) == to_record(other);
}

std::string to_record(const NetworkLease& lease) {
  std::string out = cat(lease.address.to_string(), ' ', lease.subnet.to_string());
  for (const PortMapping& mapping : lease.ports) {
    out += cat(' ', to_string(mapping.protocol), ',', mapping.host_ip, ',', mapping.host_port, ',',
               mapping.container_port);
  }
  return out;
}

Result<NetworkLease> parse_lease(std::string_view text) {
  auto address = Ipv4::parse(next_piece(text, ' '));
  auto subnet = Ipv4Subnet::parse(next_piece(text, ' '));
  if (!address || !subnet || !subnet->contains(*address)) {
    return Error(Errc::corrupt, "the addresses of a network lease do not parse");
  }
  NetworkLease lease{*address, *subnet, {}};
  while (!text.empty()) {
    lease.ports.push_back(GANTRY_TRY(parse_mapping(next_piece(text, ' '))));
  }
  return lease;
}
}  // namespace gantry
