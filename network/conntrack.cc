#include "network/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <vector>

namespace gantry {
namespace {
// KERNEL: net/netfilter/nf_conntrack_netlink.c, since 5.9; in no uapi header.
constexpr uint32_t kFilterIpSource = 1u << 0;
constexpr uint32_t kFilterProtocol = 1u << 3;
constexpr uint32_t kFilterDestinationPort = 1u << 5;

NetlinkMessage connection_message(int type) {
  NetlinkMessage message(static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type), 0);
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_IPV4;
  message.header(header);
  return message;
}

void match_source(NetlinkMessage& message, Ipv4 source, int tuple, int flags_attribute) {
  message.nest(tuple, [&](NetlinkMessage& t) {
    t.nest(CTA_TUPLE_IP,
           [&](NetlinkMessage& ip) { ip.u32(CTA_IP_V4_SRC, source.network_order()); });
  });
  message.nest(CTA_FILTER,
               [&](NetlinkMessage& filter) { filter.u32(flags_attribute, kFilterIpSource); });
}

void match_port(NetlinkMessage& message, const PortMapping& published) {
  const bool is_tcp = published.protocol == PortMapping::Protocol::tcp;
  message.nest(CTA_TUPLE_ORIG, [&](NetlinkMessage& t) {
    t.nest(CTA_TUPLE_PROTO, [&](NetlinkMessage& protocol) {
      protocol.u8(CTA_PROTO_NUM, is_tcp ? IPPROTO_TCP : IPPROTO_UDP)
          .u16(CTA_PROTO_DST_PORT, htons(published.host_port));
    });
  });
  message.nest(CTA_FILTER, [](NetlinkMessage& filter) {
    filter.u32(CTA_FILTER_ORIG_FLAGS, kFilterProtocol | kFilterDestinationPort);
  });
}

// What names one connection of a dump in a request to delete it.
NetlinkMessage deletion_of(nlmsghdr* connection) {
  NetlinkMessage message = connection_message(IPCTNL_MSG_CT_DELETE);
  for (int attribute : {CTA_TUPLE_ORIG, CTA_ID}) {
    const nlattr* found = nlmsg_find_attr(connection, sizeof(nfgenmsg), attribute);
    if (found != nullptr) {
      message.put(found->nla_type, nla_data(found), static_cast<size_t>(nla_len(found)));
    }
  }
  return message;
}
}  // namespace

Result<void> ConnectionTable::forget_matching(const Match& match) {
  std::lock_guard lock(mutex_);
  if (!socket_) socket_ = GANTRY_TRY(Netlink::open(NETLINK_NETFILTER));
  if (can_delete_by_filter_) {
    NetlinkMessage message = connection_message(IPCTNL_MSG_CT_DELETE);
    match(message);
    Result<void> deleted = socket_->request(message);
    if (deleted || !deleted.error().is_errno(EINVAL)) return deleted;
    can_delete_by_filter_ = false;
  }
  return forget_one_by_one(match);
}

Result<void> ConnectionTable::forget_one_by_one(const Match& match) {
  NetlinkMessage message = connection_message(IPCTNL_MSG_CT_GET);
  match(message);
  std::vector<NetlinkMessage> deletions;
  GANTRY_TRY(socket_->dump(
      message, [&] { deletions.clear(); },
      [&](nlmsghdr* connection) { deletions.push_back(deletion_of(connection)); }));
  for (NetlinkMessage& deletion : deletions) {
    Result<void> deleted = socket_->request(deletion);
    // It may have ended by itself.
    if (!deleted && !deleted.error().is_errno(ENOENT)) return deleted;
  }
  return {};
}

Result<void> ConnectionTable::forget(Ipv4 container) {
  for (auto [tuple, flags_attribute] : {std::pair(CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
                                        std::pair(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS)}) {
    GANTRY_TRY(forget_matching([&](NetlinkMessage& message) {
                 match_source(message, container, tuple, flags_attribute);
               }).context("forget the connections of ", container.to_string()));
  }
  return {};
}

Result<void> ConnectionTable::forget(const PortMapping& published) {
  return forget_matching([&](NetlinkMessage& message) { match_port(message, published); })
      .context("forget the connections to port ", published.host_port);
}
}  // namespace gantry
