// IPv4 addresses and subnets as values. Host byte order inside; text outside.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry {
struct Ipv4 {
  uint32_t value = 0;

  // Dotted quad only (inet_pton's rule: no leading zeros, no short forms).
  static Result<Ipv4> parse(std::string_view text);
  std::string to_string() const;
  // Network byte order, as the kernel's messages want it.
  uint32_t network_order() const;
  auto operator<=>(const Ipv4&) const = default;
};

struct Ipv4Subnet {
  Ipv4 base;            // host bits are zero
  unsigned prefix = 0;  // 0 … 32

  // "10.89.0.0/16". Host bits must be zero: Errc::invalid says which subnet was meant.
  static Result<Ipv4Subnet> parse(std::string_view text);
  static Ipv4Subnet of(Ipv4 address, unsigned prefix);
  uint32_t mask() const { return prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix); }
  Ipv4 broadcast() const { return {base.value | ~mask()}; }
  Ipv4 gateway() const { return {base.value + 1}; }
  bool contains(Ipv4 address) const { return (address.value & mask()) == base.value; }
  bool overlaps(const Ipv4Subnet& other) const {
    return contains(other.base) || other.contains(base);
  }
  std::string to_string() const;
  auto operator<=>(const Ipv4Subnet&) const = default;
};

// The link address an IPv4 address gets, always the same: who gets an address again meets no
// neighbour with a stale entry. Locally administered, unicast.
using MacAddress = std::array<uint8_t, 6>;
MacAddress mac_of(Ipv4 address);
}  // namespace gantry
