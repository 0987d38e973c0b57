// NftTable: our table in nf_tables: masquerade, published ports, walls between networks.
//
//   table inet NAME: maps pub4 {host address . protocol . port} and pub4a {protocol . port} → the
//   container's address . port; sets bridges, same, own4, net4 describe the networks; chains
//   prerouting and output (DNAT of what is for this host), postrouting (masquerade), forward (the
//   wall), raw (nobody but the host itself talks to 127/8: guards route_localnet).
//
// A container is elements of maps, never rules: O(1). What is published is remembered here too, so
// that the whole table can be written again in one transaction at any time.
//
// Threads: any; one command at a time (own mutex). Blocking; for the offload pool. The context and
// its socket are kept: KERNEL: closing a netfilter socket after a delete waits 5 to 23 ms for RCU.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "network/netlink.h"
#include "network/network.h"

struct nft_ctx;

namespace gantry {
class NftTable {
 public:
  NftTable(std::string table, std::string bridge);
  ~NftTable();
  NftTable(const NftTable&) = delete;

  // Whether the kernel has a table of our name.
  Result<bool> exists();
  // Whether it has all its rules.
  Result<bool> is_whole();
  // The table with exactly what is published now, whatever was in it.
  Result<void> write_all(const Ipv4Subnet& subnet);
  // What runs already, without a word to the kernel: write_all() follows.
  void adopt(const NetworkLease& lease);
  // A stale element of nobody we know gives way.
  Result<void> publish(const NetworkLease& lease);
  // Missing elements or a missing table are success.
  Result<void> unpublish(const NetworkLease& lease);
  // Missing is success.
  Result<void> remove();

  const std::string& table() const { return table_; }

 private:
  struct FreeContext {
    void operator()(nft_ctx* context) const;
  };
  // By libnftables: for the table as a whole. `what` names the step for errors.
  Result<void> run(const std::string& commands, std::string_view what);
  Result<void> write_all_locked(const Ipv4Subnet& subnet);
  Result<Netlink*> queries();
  NetlinkMessage element(int message_type, const NetworkLease& lease,
                         const PortMapping& port) const;
  std::string element_text(const NetworkLease& lease) const;

  const std::string table_, bridge_;
  std::mutex mutex_;
  std::map<Ipv4, NetworkLease> published_;
  // Made at the first use.
  std::unique_ptr<nft_ctx, FreeContext> context_;
  std::optional<Netlink> queries_;
};
}  // namespace gantry
