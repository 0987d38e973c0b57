// BridgeNetwork: containers on a bridge of this host, with NAT to the outside.
//
// Role: who has which address and port (memory), and the order of steps; the steps themselves are
// BridgeHost's, run on the offload pool. Lifetime: as long as the executor. Thread: loop only.
// Failure: attach undoes what it did; detach can be repeated. Recovery: leases come from the
// containers' records; everything else of this instance is removed.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "network/address_pool.h"
#include "network/bridge_host.h"
#include "network/network.h"
#include "network/port_reservations.h"

namespace gantry {
class BridgeNetwork final : public Network {
 public:
  BridgeNetwork(asio::any_io_executor executor, BridgeOptions options);
  // With no member left, bridge and rules go too (blocking: the owner is shutting down). With
  // members they stay: the containers run on, and the next executor adopts them.
  ~BridgeNetwork() override;

  Co<Result<NetworkLease>> reserve(ContainerId id, std::vector<PortMapping> ports) override;
  Co<Result<void>> attach(ContainerId id, ProcessIdentity process, int pidfd) override;
  Co<Result<void>> detach(ContainerId id) override;
  Co<Result<void>> recover(std::vector<std::pair<ContainerId, NetworkLease>> known) override;
  Co<Result<LinkCounters>> counters(ContainerId id) override;
  Co<Result<void>> maintain() override;
  Co<Result<void>> close() override;

  const NetworkLease* lease(const ContainerId& id) const;
  size_t members() const { return members_.size(); }
  const std::string& bridge() const { return host_->bridge(); }
  const std::string& table() const { return host_->table(); }

 private:
  struct Member {
    NetworkLease lease;
    // tried: an attach failed and was undone as far as that went.
    enum class Progress { reserved, tried, attached } progress = Progress::reserved;
  };
  Co<Result<void>> maintain_as_leader();
  Co<Result<void>> repair();
  Co<Result<void>> remove_link_of(ContainerId id, bool namespace_is_dying);
  std::optional<Ipv4> former_address(const ContainerId& id) const;
  void forget(const ContainerId& id);

  std::shared_ptr<BridgeHost> host_;
  std::optional<AddressPool> pool_;  // made when the first address is needed
  PortReservations ports_;
  std::map<ContainerId, Member> members_;
  // Who had which address, as long as it may run again: the last so many that left.
  std::map<ContainerId, Ipv4> former_;
  std::deque<ContainerId> former_order_;
  bool is_maintained_ = false;
  Event maintainer_left_;
};
}  // namespace gantry
