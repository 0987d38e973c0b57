#include "network/probe.h"

#include <sched.h>

#include "network/links.h"
#include "network/net_namespace.h"
#include "network/nft_table.h"

namespace gantry {
namespace {
constexpr const char* kBridge = "probe";
constexpr uint32_t kMtu = 1500;

Result<void> make_one_of_each() {
  Netlink socket = GANTRY_TRY(Netlink::open(NETLINK_ROUTE));
  GANTRY_TRY(create_bridge(socket, kBridge, {2, 0, 0, 0, 0, 1}, kMtu).context("bridge"));
  const auto bridge = GANTRY_TRY(find_link(socket, kBridge));
  if (!bridge) return Error(Errc::not_found, "the bridge that was just made");
  const UniqueFd here = GANTRY_TRY(open_own_net_namespace());
  GANTRY_TRY(create_veth(socket, {.name = "probe0",
                                  .peer_name = "probe1",
                                  .peer_namespace_fd = here.get(),
                                  .mac = {2, 0, 0, 0, 0, 2},
                                  .peer_mac = {2, 0, 0, 0, 0, 3},
                                  .mtu = kMtu,
                                  .bridge_index = bridge->index})
                 .context("veth"));
  NftTable table("gantry", kBridge);
  return table.write_all(GANTRY_TRY(Ipv4Subnet::parse("10.89.0.0/16"))).context("nf_tables");
}
}  // namespace

Result<void> probe_bridge_network() {
  const UniqueFd home = GANTRY_TRY(open_own_net_namespace());
  if (::unshare(CLONE_NEWNET) != 0) return Error::from_errno(errno, "network namespace");
  Result<void> made = make_one_of_each();
  // A thread that cannot come back must not go on.
  GANTRY_CHECK(::setns(home.get(), CLONE_NEWNET) == 0);
  return made;
}
}  // namespace gantry
