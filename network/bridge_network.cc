#include "network/bridge_network.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/failpoint.h"
#include "base/str.h"

namespace gantry {
namespace {
using std::chrono::milliseconds;
// Measured median 0.2 ms, worst 4 ms. Late is not an error: the first packet is retried after 1 s.
constexpr milliseconds kForwardingDeadline(200);
// A namespace is gone about 1 ms after its last process; behind many others it takes longer. Who
// pins it for longer than this loses the link.
constexpr milliseconds kNamespaceDeadline(300);
// Of so many that left last it is remembered which address they had.
constexpr size_t kMostFormer = 4096;

// Waits until each of the links has come up; a deadline that passes, or events that were lost, end
// it too.
Co<void> wait_until_up(Netlink events, std::vector<std::string> names, milliseconds limit) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    auto drained = events.drain([&](nlmsghdr* header) {
      Link link;
      // Of the bridge's family come messages about ports: not the links themselves.
      if (static_cast<ifinfomsg*>(nlmsg_data(header))->ifi_family != AF_UNSPEC) return;
      if (!parse_link(header, link) || link.operstate != IF_OPER_UP) return;
      std::erase(names, link.name);
    });
    if (names.empty() || !drained) co_return;
    auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) co_return;
    if (!co_await wait_fd(events.fd(), Readiness::read, left)) co_return;
  }
}

bool is_loss(nlmsghdr* header, const std::string& bridge) {
  Link link;
  if (static_cast<ifinfomsg*>(nlmsg_data(header))->ifi_family != AF_UNSPEC) return false;
  if (!parse_link(header, link) || link.name != bridge) return false;
  return header->nlmsg_type == RTM_DELLINK || (link.flags & IFF_UP) == 0;
}

bool is_rule_loss(nlmsghdr* header) {
  int kind = NFNL_MSG_TYPE(header->nlmsg_type);
  return kind == NFT_MSG_DELTABLE || kind == NFT_MSG_DELCHAIN || kind == NFT_MSG_DELRULE;
}
}  // namespace

BridgeNetwork::BridgeNetwork(asio::any_io_executor executor, BridgeOptions options)
    : host_(std::make_shared<BridgeHost>(options)),
      ports_(std::move(options.called)),
      maintainer_left_(executor) {}

BridgeNetwork::~BridgeNetwork() {
  if (!members_.empty() || !host_->has_shared()) return;
  host_->remove_shared().ignore("the next executor's recovery removes it");
}

const NetworkLease* BridgeNetwork::lease(const ContainerId& id) const {
  auto it = members_.find(id);
  return it == members_.end() ? nullptr : &it->second.lease;
}

// Whoever runs again is where others know it to be, in their /etc/hosts.
std::optional<Ipv4> BridgeNetwork::former_address(const ContainerId& id) const {
  const auto it = former_.find(id);
  return it == former_.end() ? std::nullopt : std::optional(it->second);
}

Co<Result<NetworkLease>> BridgeNetwork::reserve(ContainerId id, std::vector<PortMapping> ports) {
  if (!pool_) {
    auto chosen = co_await offload([host = host_] { return host->choose_subnet(); });
    Ipv4Subnet subnet = GANTRY_CO_TRY(std::move(chosen));
    if (subnet.prefix > 29) {
      co_return Error(Errc::invalid, cat("network subnet ", subnet.to_string(),
                                         " is too small; /29 is the smallest"));
    }
    if (!pool_) pool_.emplace(subnet);  // another reserve() may have been faster
  }
  if (members_.contains(id)) {
    co_return Error(Errc::already_exists, "the container is in the network already");
  }
  ports = GANTRY_CO_TRY(ports_.reserve(id.to_string(), std::move(ports)));
  auto address = pool_->lease(former_address(id));
  if (!address) {
    ports_.release(id.to_string());
    co_return std::move(address).error();
  }
  NetworkLease lease{*address, pool_->subnet(), std::move(ports)};
  members_.emplace(id, Member{lease});
  co_return lease;
}

Co<Result<void>> BridgeNetwork::attach(ContainerId id, ProcessIdentity process, int pidfd) {
  auto it = members_.find(id);
  if (it == members_.end()) co_return Error(Errc::not_found, "the container has no reservation");
  it->second.progress = Member::Progress::tried;
  NetworkLease lease = it->second.lease;
  auto attached = co_await offload([host = host_, id, lease, pidfd, pid = process.pid] {
    return host->attach(id, lease, pidfd, pid);
  });
  if (!attached) co_return std::move(attached).error();
  it = members_.find(id);
  if (it != members_.end()) it->second.progress = Member::Progress::attached;
  if (attached->coming_up.empty()) co_return Result<void>();
  // KERNEL: packets sent before the link watch has run are lost, and retried only after 1 s.
  co_await wait_until_up(std::move(attached->events), std::move(attached->coming_up),
                         kForwardingDeadline);
  co_return Result<void>();
}

void BridgeNetwork::forget(const ContainerId& id) {
  auto it = members_.find(id);
  if (it == members_.end()) return;
  pool_->release(it->second.lease.address);
  if (former_.insert_or_assign(id, it->second.lease.address).second) former_order_.push_back(id);
  if (former_order_.size() > kMostFormer) {
    former_.erase(former_order_.front());
    former_order_.pop_front();
  }
  ports_.release(id.to_string());
  members_.erase(it);
}

// The dying namespace takes the link along; that costs us nothing, and removing it 20 ms. Looked at
// in growing intervals: the kernel's own event comes only after all of the namespace is gone.
Co<Result<void>> BridgeNetwork::remove_link_of(ContainerId id, bool namespace_is_dying) {
  std::string name = host_->link_of(id);
  Duration pause = std::chrono::microseconds(250);
  auto deadline = std::chrono::steady_clock::now() + kNamespaceDeadline;
  while (namespace_is_dying && host_->has_link(name) &&
         std::chrono::steady_clock::now() < deadline) {
    co_await sleep_for(pause);
    pause = std::min<Duration>(pause * 2, milliseconds(16));
  }
  if (!host_->has_link(name)) co_return Result<void>();
  co_return co_await offload([host = host_, id] { return host->remove_leftover(id); });
}

Co<Result<void>> BridgeNetwork::detach(ContainerId id) {
  auto it = members_.find(id);
  if (it == members_.end()) co_return co_await remove_link_of(id, false);
  auto progress = it->second.progress;
  // ORDER: rules before the link, the link before the address is free for another.
  if (progress != Member::Progress::reserved) {
    auto withdrawn = co_await offload(
        [host = host_, id, lease = it->second.lease] { return host->withdraw(id, lease); });
    GANTRY_CO_TRY(std::move(withdrawn));
    GANTRY_CO_TRY(co_await remove_link_of(id, progress == Member::Progress::attached));
  }
  forget(id);
  co_return Result<void>();
}

Co<Result<void>> BridgeNetwork::recover(std::vector<std::pair<ContainerId, NetworkLease>> known) {
  for (const auto& [id, lease] : known) {
    if (!pool_) pool_.emplace(lease.subnet);
    // Taken or foreign only when a record was damaged: the container keeps what it has.
    pool_->adopt(lease.address).ignore("the container runs with it in any case");
    ports_.adopt(id.to_string(), lease.ports);
    members_.emplace(id, Member{lease, Member::Progress::attached});
  }
  auto done =
      co_await offload([host = host_, known = std::move(known)] { return host->recover(known); });
  co_return std::move(done).context("recover the bridge network");
}

Co<Result<LinkCounters>> BridgeNetwork::counters(ContainerId id) {
  if (!members_.contains(id)) co_return Error(Errc::not_found, "the container has no link");
  co_return co_await offload(
      [host = host_, name = host_->link_of(id)] { return host->counters(name); });
}

Co<Result<void>> BridgeNetwork::repair() {
  if (!pool_ || !host_->has_shared()) co_return Result<void>();
  auto done =
      co_await offload([host = host_, subnet = pool_->subnet()] { return host->repair(subnet); });
  if (!done) co_return std::move(done).error();
  co_return Result<void>();
}

Co<Result<void>> BridgeNetwork::maintain_as_leader() {
  Netlink links = GANTRY_CO_TRY(Netlink::subscribe(NETLINK_ROUTE, {RTNLGRP_LINK}));
  Netlink rules = GANTRY_CO_TRY(Netlink::subscribe(NETLINK_NETFILTER, {NFNLGRP_NFTABLES}));
  UniqueFd both(::epoll_create1(EPOLL_CLOEXEC));
  if (!both) co_return Error::from_errno(errno, "make an epoll descriptor");
  for (int fd : {links.fd(), rules.fd()}) {
    epoll_event event{EPOLLIN, {}};
    if (::epoll_ctl(both.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      co_return Error::from_errno(errno, "watch a netlink socket");
    }
  }
  // ORDER: looked after the subscription: what was lost before is seen here, later by event.
  bool is_suspect = true;
  while (!co_await is_cancelled()) {
    if (is_suspect) GANTRY_CO_TRY(co_await repair());
    auto ready = co_await wait_fd(both.get(), Readiness::read);
    if (!ready) co_return ready;
    is_suspect = false;
    auto a = links.drain([&](nlmsghdr* header) { is_suspect |= is_loss(header, bridge()); });
    auto b = rules.drain([&](nlmsghdr* header) { is_suspect |= is_rule_loss(header); });
    // Dropped messages may have been the ones.
    is_suspect |= !a || !b;
  }
  co_return Result<void>();
}

Co<Result<void>> BridgeNetwork::maintain() {
  while (is_maintained_) {
    if (co_await is_cancelled()) co_return Result<void>();
    co_await maintainer_left_.wait();
  }
  is_maintained_ = true;
  auto done = co_await maintain_as_leader();
  is_maintained_ = false;
  maintainer_left_.notify();
  if (!done && done.error().is(Errc::cancelled)) co_return Result<void>();
  co_return done;
}

Co<Result<void>> BridgeNetwork::close() {
  if (!members_.empty() || !host_->has_shared()) co_return Result<void>();
  co_return co_await offload([host = host_] { return host->remove_shared(); });
}
}  // namespace gantry
