// BridgeHost: the host's side of a bridge network, as blocking functions for the offload pool:
// bridge, links, addresses, rules, sysctls. Which container has what is BridgeNetwork's.
//
// Threads: any; the mutex orders what must not overlap (making and repairing what is shared).
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "network/conntrack.h"
#include "network/links.h"
#include "network/network.h"
#include "network/nft_table.h"

namespace gantry {
struct BridgeOptions {
  // Tells the executors of one host apart: empty for the one at the default runtime directory
  // (bridge gantry0, table gantry), else up to 8 of [0-9a-f] (bridge gantry-INSTANCE …).
  std::string instance;
  // Unset: the first of 10.89.0.0/16, 10.90.0.0/16 … that nothing on this host overlaps.
  std::optional<Ipv4Subnet> subnet;
  // What a container of that id is called in messages; none: by its id.
  std::function<std::string(const std::string& id)> called;
};
// The instance that belongs to a runtime directory.
std::string bridge_instance(std::string_view runtime_dir);

// "gt-" and 11 hex digits: the host end's name of a container's link. Other executors of this host
// may have a container of the same id.
std::string link_name(std::string_view instance, const ContainerId& id);

class BridgeHost {
 public:
  explicit BridgeHost(BridgeOptions options);

  // Errc::conflict when the configured subnet overlaps something; names it.
  Result<Ipv4Subnet> choose_subnet();

  struct Attached {
    Netlink events;                      // of links, subscribed before the link was made
    std::vector<std::string> coming_up;  // links that do not forward yet: wait for them on `events`
  };
  Result<Attached> attach(const ContainerId& id, const NetworkLease& lease, int pidfd, pid_t pid);
  // Rules and connections. The link is left to its dying namespace. True: there was one.
  Result<bool> withdraw(const ContainerId& id, const NetworkLease& lease);
  std::string link_of(const ContainerId& id) const { return link_name(options_.instance, id); }
  // Does not block: for the loop.
  bool has_link(const std::string& link) const;
  // Slow: 20 ms and more. A link of another instance or program is left alone; missing is success.
  Result<void> remove_leftover(const ContainerId& id);
  Result<LinkCounters> counters(const std::string& link);

  // After a start: knows exactly these; removes every other link of this instance; writes the
  // rules anew, or removes what is shared when there are none.
  Result<void> recover(const std::vector<std::pair<ContainerId, NetworkLease>>& known);
  // Puts back what is missing of bridge and rules. True: there was something.
  Result<bool> repair(const Ipv4Subnet& subnet);
  // Bridge and table. Missing is success.
  Result<void> remove_shared();
  bool has_shared() const { return has_shared_; }

  const std::string& bridge() const { return bridge_; }
  const std::string& table() const { return nft_.table(); }

 private:
  Result<Link> ensure_shared(Netlink& socket, const Ipv4Subnet& subnet);
  Result<Link> ensure_bridge(Netlink& socket, const Ipv4Subnet& subnet);
  // Made if need be; its operstate says whether it forwards already.
  Result<Link> shared_bridge(Netlink& socket, const Ipv4Subnet& subnet);
  // The links that will send an event when they forward.
  Result<std::vector<std::string>> make_link(Netlink& socket, const ContainerId& id,
                                             const NetworkLease& lease, int namespace_fd);
  Result<void> make_veth(Netlink& socket, const VethRequest& request);
  Result<void> publish(const NetworkLease& lease);
  bool is_of_this_instance(const Link& link, int bridge_index) const;
  std::string alias(const ContainerId& id) const;

  const BridgeOptions options_;
  const std::string bridge_;
  NftTable nft_;
  ConnectionTable connections_;
  std::optional<LinkProbe> probe_;  // without one (no descriptors left) nothing is there
  std::atomic<bool> has_shared_ = false;

  std::mutex mutex_;                 // guards what follows
  std::optional<Link> bridge_link_;  // as made or seen by ensure_shared()
  std::set<std::string> attached_;   // host ends that belong on the bridge
};
}  // namespace gantry
