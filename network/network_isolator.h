// NetworkIsolator: what a container sees of the network.
//
//   none     a network namespace with loopback only (made by the namespaces isolator)
//   host     the host's namespace
//   bridge   its own namespace, attached to a Network (address, NAT, published ports)
//
// In every mode a container with a root file system of its own gets /etc/hosts, /etc/hostname and
// /etc/resolv.conf: files in its runtime directory, bound over what the image has. On the host's
// root nothing is bound.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "launcher/isolator.h"
#include "network/bridge_host.h"
#include "network/network.h"

namespace gantry {
class NetworkIsolator final : public Isolator {
 public:
  // `bridge`: what mode bridge attaches to.
  explicit NetworkIsolator(std::unique_ptr<Network> bridge);
  ~NetworkIsolator() override;

  std::string_view name() const override { return "network"; }
  Co<Result<void>> recover(const std::vector<RecoveredContainer>& known) override;
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  Co<Result<void>> isolate(const LaunchContext& context, const ProcessRef& child) override;
  // No limits here: watching keeps the bridge and its rules in place, see Network::maintain.
  bool watches(const ContainerId& id) const override;
  Co<Result<Limitation>> watch(ContainerId id) override;
  Co<Result<void>> usage(ContainerId id, Usage& into) override;
  std::string record(const ContainerId& id) const override;
  Co<Result<void>> cleanup(ContainerId id) override;

  // Where others reach the container; nullopt unless it is on the bridge.
  std::optional<Ipv4> address_of(const ContainerId& id) const;
  // What it publishes now; null unless it is on the bridge.
  const std::vector<PortMapping>* ports_of(const ContainerId& id) const;

  // Before the executor leaves: removes what containers share, if there are none.
  Co<Result<void>> close() { return bridge_->close(); }

 private:
  struct Member {
    std::string files_directory;  // empty: no files were made
    std::optional<NetworkLease> lease;
  };
  std::unique_ptr<Network> bridge_;
  std::map<ContainerId, Member> members_;
};

std::unique_ptr<NetworkIsolator> make_network_isolator(const asio::any_io_executor& executor,
                                                       BridgeOptions options);
}  // namespace gantry
