#include "network/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

namespace gantry {
namespace {
// KERNEL: net/netfilter/nf_conntrack_netlink.c, since 5.9; in no uapi header.
constexpr uint32_t kFilterIpSource = 1u << 0;
constexpr uint32_t kFilterProtocol = 1u << 3;
constexpr uint32_t kFilterDestinationPort = 1u << 5;

NetlinkMessage delete_message() {
  NetlinkMessage message(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0);
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_IPV4;
  message.header(header);
  return message;
}

}  // namespace

Result<void> ConnectionTable::request(NetlinkMessage& message) {
  std::lock_guard lock(mutex_);
  if (!socket_) socket_ = GANTRY_TRY(Netlink::open(NETLINK_NETFILTER));
  return socket_->request(message);
}

Result<void> ConnectionTable::forget_by_source(Ipv4 source, int tuple, int flags_attribute) {
  NetlinkMessage message = delete_message();
  message.nest(tuple, [&](NetlinkMessage& t) {
    t.nest(CTA_TUPLE_IP,
           [&](NetlinkMessage& ip) { ip.u32(CTA_IP_V4_SRC, source.network_order()); });
  });
  message.nest(CTA_FILTER,
               [&](NetlinkMessage& filter) { filter.u32(flags_attribute, kFilterIpSource); });
  return request(message).context("forget the connections of ", source.to_string());
}

Result<void> ConnectionTable::forget(Ipv4 container) {
  GANTRY_TRY(forget_by_source(container, CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS));
  return forget_by_source(container, CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS);
}

Result<void> ConnectionTable::forget(const PortMapping& published) {
  bool is_tcp = published.protocol == PortMapping::Protocol::tcp;
  NetlinkMessage message = delete_message();
  message.nest(CTA_TUPLE_ORIG, [&](NetlinkMessage& t) {
    t.nest(CTA_TUPLE_PROTO, [&](NetlinkMessage& protocol) {
      protocol.u8(CTA_PROTO_NUM, is_tcp ? IPPROTO_TCP : IPPROTO_UDP)
          .u16(CTA_PROTO_DST_PORT, htons(published.host_port));
    });
  });
  message.nest(CTA_FILTER, [](NetlinkMessage& filter) {
    filter.u32(CTA_FILTER_ORIG_FLAGS, kFilterProtocol | kFilterDestinationPort);
  });
  return request(message).context("forget the connections to port ", published.host_port);
}
}  // namespace gantry
