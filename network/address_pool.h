// AddressPool: which addresses of a subnet are free. Memory only: a lease is a field of its
// container's record, so nothing can leak here that the records do not say (docs: network.md §4).
//
// Order: never-used addresses first, in order; then the one that was given back longest ago, so
// that late packets and caches of the old owner meet the new one as late as possible. Whoever had
// one before gets it again, if it is free.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_set>

#include "network/ipv4.h"

namespace gantry {
class AddressPool {
 public:
  // Precondition: prefix <= 29. The network, gateway and broadcast addresses are never given out.
  explicit AddressPool(Ipv4Subnet subnet);

  // Errc::exhausted, with the counts, when all are leased.
  Result<Ipv4> lease(std::optional<Ipv4> former = std::nullopt);
  // One address in particular (recovery). Errc::conflict when it is leased, Errc::invalid when it
  // is none of ours to give.
  Result<void> adopt(Ipv4 address);
  // Giving back what is not leased is a no-op.
  void release(Ipv4 address);

  const Ipv4Subnet& subnet() const { return subnet_; }
  size_t leased() const { return leased_.size(); }
  size_t capacity() const { return subnet_.broadcast().value - subnet_.base.value - 2; }

 private:
  Ipv4Subnet subnet_;
  uint32_t next_fresh_;
  std::unordered_set<uint32_t> leased_;
  std::deque<uint32_t> returned_;  // entries that are leased again by adopt() are skipped
};
}  // namespace gantry
