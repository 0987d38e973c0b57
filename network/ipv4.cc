#include "network/ipv4.h"

#include <arpa/inet.h>

#include "base/str.h"

namespace gantry {
Result<Ipv4> Ipv4::parse(std::string_view text) {
  in_addr raw;
  if (::inet_pton(AF_INET, std::string(text).c_str(), &raw) != 1) {
    return Error(Errc::invalid, cat("\"", text, "\" is not an IPv4 address like 192.0.2.1"));
  }
  return Ipv4{ntohl(raw.s_addr)};
}

std::string Ipv4::to_string() const {
  return cat(value >> 24, '.', value >> 16 & 255, '.', value >> 8 & 255, '.', value & 255);
}

uint32_t Ipv4::network_order() const { return htonl(value); }

Ipv4Subnet Ipv4Subnet::of(Ipv4 address, unsigned prefix) {
  Ipv4Subnet subnet{address, prefix};
  subnet.base.value &= subnet.mask();
  return subnet;
}

Result<Ipv4Subnet> Ipv4Subnet::parse(std::string_view text) {
  size_t slash = text.find('/');
  unsigned prefix = 0;
  if (slash == std::string_view::npos || !parse_number(text.substr(slash + 1), prefix) ||
      prefix > 32) {
    return Error(Errc::invalid, cat("\"", text, "\" is not a subnet like 10.89.0.0/16"));
  }
  Ipv4 address = GANTRY_TRY(Ipv4::parse(text.substr(0, slash)));
  Ipv4Subnet subnet = of(address, prefix);
  if (subnet.base != address) {
    return Error(Errc::invalid, cat("\"", text, "\" has host bits set; ", subnet.to_string(),
                                    " is the subnet of that address"));
  }
  return subnet;
}

std::string Ipv4Subnet::to_string() const { return cat(base.to_string(), '/', prefix); }

MacAddress mac_of(Ipv4 address) {
  return {0x02,
          0x47,
          static_cast<uint8_t>(address.value >> 24),
          static_cast<uint8_t>(address.value >> 16),
          static_cast<uint8_t>(address.value >> 8),
          static_cast<uint8_t>(address.value)};
}
}  // namespace gantry
