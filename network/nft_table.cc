#include "network/nft_table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>

#include <array>
#include <cstring>
#include <vector>

#include "base/str.h"
#include "network/netlink.h"
#include "network/port_reservations.h"

namespace gantry {
namespace {
// Why each line is there: reference network.md §3.1 and §3.2. Two that surprise:
//  - postrouting cannot match the input bridge for traffic within one network: with
//    bridge-nf-call-iptables=1 such a frame is bridged and has none. Hence own4.
//  - "ct status dnat accept" in forward: or the wall blocks the published ports of other networks.
constexpr std::string_view kChains = R"(
  chain pub {
    dnat ip to ip daddr . meta l4proto . th dport map @pub4
    dnat ip to meta l4proto . th dport map @pub4a
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local goto pub
  }
  chain output {
    type nat hook output priority -100; policy accept;
    fib daddr type local goto pub
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ct status dnat fib saddr type local masquerade
    oifname . ip saddr @own4 ct status dnat masquerade
    ip saddr @net4 oifname != @bridges masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname @bridges ip daddr { 169.254.169.254, 100.100.100.200, 192.0.0.192 } drop
    ct state established,related accept
    ct status dnat accept
    iifname . oifname @same accept
    oifname @bridges drop
  }
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }
)";
constexpr size_t kRules = 13;  // in kChains: is_whole() counts them

Result<void> as_result(const std::string& text, std::string_view what) {
  int code = EINVAL;
  if (text.find("No such file or directory") != std::string::npos) code = ENOENT;
  if (text.find("Operation not permitted") != std::string::npos) code = EPERM;
  // The first line says it all; the rest shows the commands with marks under them.
  return Error::from_errno(code, cat("nftables: ", what, ": ", text.substr(0, text.find('\n'))));
}

NetlinkMessage get_message(int type, int flags) {
  NetlinkMessage message(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), flags);
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_INET;
  message.header(header);
  return message;
}
}  // namespace

void NftTable::FreeContext::operator()(nft_ctx* context) const { nft_ctx_free(context); }

NftTable::NftTable(std::string table, std::string bridge)
    : table_(std::move(table)), bridge_(std::move(bridge)) {}

NftTable::~NftTable() = default;

Result<void> NftTable::run(const std::string& commands, std::string_view what) {
  if (!context_) {
    // libnftables ends the whole process, with status 3, when it gets no socket: ours first, which
    // says why.
    GANTRY_TRY(Netlink::open(NETLINK_NETFILTER));
    context_.reset(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context_) return Error(Errc::unsupported, "nftables: no netlink socket");
    nft_ctx_buffer_output(context_.get());
    nft_ctx_buffer_error(context_.get());
  }
  int status = nft_run_cmd_from_buffer(context_.get(), commands.c_str());
  // Taking a buffer empties it: both are taken each time, or they grow.
  nft_ctx_get_output_buffer(context_.get());
  std::string text = nft_ctx_get_error_buffer(context_.get());
  return status == 0 ? Result<void>() : as_result(text, what);
}

Result<Netlink*> NftTable::queries() {
  if (!queries_) queries_ = GANTRY_TRY(Netlink::open(NETLINK_NETFILTER));
  return &*queries_;
}

Result<bool> NftTable::is_whole() {
  std::lock_guard lock(mutex_);
  Netlink* socket = GANTRY_TRY(queries());
  NetlinkMessage message = get_message(NFT_MSG_GETRULE, 0);
  message.text(NFTA_RULE_TABLE, table_);
  size_t rules = 0;
  auto done = socket->dump(message, [&] { rules = 0; }, [&](nlmsghdr*) { ++rules; });
  if (!done && done.error().is_errno(ENOENT)) return false;
  if (!done) return std::move(done).error().context("count the rules of table ", table_);
  return rules == kRules;
}

Result<bool> NftTable::exists() {
  std::lock_guard lock(mutex_);
  auto socket = queries();
  // KERNEL: without netfilter; EINVAL below without nf_tables.
  if (!socket && socket.error().is_errno(EPROTONOSUPPORT)) return false;
  if (!socket) return std::move(socket).error();
  NetlinkMessage message = get_message(NFT_MSG_GETTABLE, 0);
  message.text(NFTA_TABLE_NAME, table_);
  auto done = (*socket)->request(message);
  if (!done && (done.error().is_errno(ENOENT) || done.error().is_errno(EINVAL))) return false;
  if (!done) return std::move(done).error().context("look up table ", table_);
  return true;
}

std::string NftTable::element_text(const NetworkLease& lease) const {
  std::string out;
  for (const PortMapping& port : lease.ports) {
    out +=
        cat("add element inet ", table_, port.host_ip.empty() ? " pub4a { " : " pub4 { ",
            port.host_ip, port.host_ip.empty() ? "" : " . ", to_string(port.protocol), " . ",
            port.host_port, " : ", lease.address.to_string(), " . ", port.container_port, " }\n");
  }
  return out;
}

// By netlink itself: 2 us instead of the 55 us and the dozen dumps of libnftables, and an errno
// instead of a text. KERNEL: each part of a concatenation takes a multiple of 4 bytes.
NetlinkMessage NftTable::element(int message_type, const NetworkLease& lease,
                                 const PortMapping& port) const {
  std::array<unsigned char, 12> key{};
  std::array<unsigned char, 8> target{};
  auto put = [](unsigned char* at, auto value) { std::memcpy(at, &value, sizeof value); };
  bool is_any = port.host_ip.empty();
  unsigned char* at = key.data();
  if (!is_any) {
    // The port reservation has parsed it before.
    put(at, Ipv4::parse(port.host_ip).value_or(Ipv4{}).network_order());
    at += 4;
  }
  put(at, uint8_t(port.protocol == PortMapping::Protocol::tcp ? IPPROTO_TCP : IPPROTO_UDP));
  put(at + 4, htons(port.host_port));
  put(target.data(), lease.address.network_order());
  put(target.data() + 4, htons(port.container_port));
  NetlinkMessage message = get_message(message_type, 0);
  message.text(NFTA_SET_ELEM_LIST_TABLE, table_)
      .text(NFTA_SET_ELEM_LIST_SET, is_any ? "pub4a" : "pub4");
  if (message_type == NFT_MSG_NEWSETELEM) message.raw()->nlmsg_flags |= NLM_F_CREATE;
  message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&](NetlinkMessage& list) {
    list.nest(NFTA_LIST_ELEM, [&](NetlinkMessage& item) {
      item.nest(NFTA_SET_ELEM_KEY, [&](NetlinkMessage& data) {
        data.put(NFTA_DATA_VALUE, key.data(), is_any ? 8 : 12);
      });
      item.nest(NFTA_SET_ELEM_DATA, [&](NetlinkMessage& data) {
        data.put(NFTA_DATA_VALUE, target.data(), target.size());
      });
    });
  });
  return message;
}

Result<void> NftTable::write_all(const Ipv4Subnet& subnet) {
  std::lock_guard lock(mutex_);
  return write_all_locked(subnet);
}

Result<void> NftTable::write_all_locked(const Ipv4Subnet& subnet) {
  std::string net = subnet.to_string();
  std::string bridge = cat('"', bridge_, '"');
  // One transaction: packets meet the old table or the new one, never neither.
  std::string commands = cat("table inet ", table_, " {}\ndelete table inet ", table_,
                             "\ntable inet ", table_, " {\n");
  commands += cat(
      "  map pub4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }\n"
      "  map pub4a { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
      "  set bridges { type ifname; elements = { ",
      bridge, " } }\n  set same { type ifname . ifname; elements = { ", bridge, " . ", bridge,
      " } }\n  set own4 { type ifname . ipv4_addr; flags interval; elements = { ", bridge, " . ",
      net, " } }\n  set net4 { type ipv4_addr; flags interval; elements = { ", net, " } }\n");
  commands += cat(kChains, "}\n");
  for (const auto& [address, lease] : published_) commands += element_text(lease);
  return run(commands, cat("write table ", table_));
}

void NftTable::adopt(const NetworkLease& lease) {
  if (lease.ports.empty()) return;
  std::lock_guard lock(mutex_);
  published_[lease.address] = lease;
}

Result<void> NftTable::publish(const NetworkLease& lease) {
  if (lease.ports.empty()) return Result<void>();
  std::lock_guard lock(mutex_);
  std::vector<NetlinkMessage> messages;
  for (const PortMapping& port : lease.ports) {
    messages.push_back(element(NFT_MSG_NEWSETELEM, lease, port));
  }
  Netlink* socket = GANTRY_TRY(queries());
  auto done = socket->transaction(messages);
  // The port's socket is ours (PortReservations), so an element that leads elsewhere is a leftover.
  bool is_stale = !done && (done.error().is_errno(EEXIST) || done.error().is_errno(EBUSY));
  if (!done && !is_stale) return std::move(done).error().context("publish ports");
  published_[lease.address] = lease;
  if (!is_stale) return Result<void>();
  done = write_all_locked(lease.subnet);
  if (!done) published_.erase(lease.address);
  return done;
}

Result<void> NftTable::unpublish(const NetworkLease& lease) {
  std::lock_guard lock(mutex_);
  published_.erase(lease.address);
  for (const PortMapping& port : lease.ports) {
    Netlink* socket = GANTRY_TRY(queries());
    // One transaction each: what is missing already must not keep the others.
    std::vector<NetlinkMessage> one;
    one.push_back(element(NFT_MSG_DELSETELEM, lease, port));
    auto done = socket->transaction(one);
    if (!done && !done.error().is_errno(ENOENT)) {
      return std::move(done).error().context("unpublish ", to_string(port));
    }
  }
  return Result<void>();
}

Result<void> NftTable::remove() {
  if (!GANTRY_TRY(exists())) return Result<void>();
  std::lock_guard lock(mutex_);
  auto done = run(cat("delete table inet ", table_, "\n"), cat("remove table ", table_));
  if (!done && done.error().is_errno(ENOENT)) return Result<void>();
  return done;
}
}  // namespace gantry
