#include "network/address_pool.h"

#include "base/str.h"

namespace gantry {
AddressPool::AddressPool(Ipv4Subnet subnet)
    : subnet_(subnet), next_fresh_(subnet.gateway().value + 1) {
  GANTRY_CHECK(subnet.prefix <= 29);
}

Result<Ipv4> AddressPool::lease(std::optional<Ipv4> former) {
  if (former && adopt(*former)) {
    std::erase(returned_, former->value);
    return *former;
  }
  while (next_fresh_ < subnet_.broadcast().value) {
    uint32_t address = next_fresh_++;
    if (leased_.insert(address).second) return Ipv4{address};
  }
  while (!returned_.empty()) {
    uint32_t address = returned_.front();
    returned_.pop_front();
    if (leased_.insert(address).second) return Ipv4{address};
  }
  return Error(Errc::exhausted, cat("no free address: all ", capacity(), " of ",
                                    subnet_.to_string(), " are leased"));
}

Result<void> AddressPool::adopt(Ipv4 address) {
  if (!subnet_.contains(address) || address <= subnet_.gateway() ||
      address >= subnet_.broadcast()) {
    return Error(Errc::invalid,
                 cat(address.to_string(), " is not an address of ", subnet_.to_string()));
  }
  if (!leased_.insert(address.value).second) {
    return Error(Errc::conflict, cat(address.to_string(), " is leased already"));
  }
  return Result<void>();
}

void AddressPool::release(Ipv4 address) {
  if (leased_.erase(address.value) == 0) return;
  // An adopted address ahead of the cursor is found there again; behind it, only here.
  if (address.value < next_fresh_) returned_.push_back(address.value);
}
}  // namespace gantry
