#include "network/netlink.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "base/str.h"

namespace gantry {
namespace {
constexpr size_t kReceiveBytes = 64u << 10;  // what the kernel fills a dump's datagrams up to
constexpr int kDumpTries = 5;

Result<UniqueFd> netlink_socket(int protocol, int flags) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, protocol));
  if (!fd) return Error::from_errno(errno, "open a netlink socket");
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    return Error::from_errno(errno, "bind a netlink socket");
  }
  return fd;
}

// The kernel's words about a failure (NLMSGERR_ATTR_MSG), empty without.
std::string_view explanation(nlmsghdr* header, const nlmsgerr* failure) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  size_t skip = sizeof *failure;
  if ((header->nlmsg_flags & NLM_F_CAPPED) == 0) {
    skip += NLMSG_ALIGN(failure->msg.nlmsg_len) - sizeof failure->msg;
  }
  auto* first = reinterpret_cast<nlattr*>(static_cast<char*>(nlmsg_data(header)) + skip);
  int bytes = nlmsg_datalen(header) - static_cast<int>(skip);
  nlattr* text = bytes > 0 ? nla_find(first, bytes, NLMSGERR_ATTR_MSG) : nullptr;
  return text != nullptr ? std::string_view(nla_get_string(text)) : std::string_view();
}
}  // namespace

NetlinkMessage::NetlinkMessage(uint16_t type, int flags)
    : message_(nlmsg_alloc_simple(type, NLM_F_REQUEST | NLM_F_ACK | flags)) {
  GANTRY_CHECK(message_ != nullptr);
}

NetlinkMessage& NetlinkMessage::put(int attribute, const void* data, size_t bytes) {
  GANTRY_CHECK(nla_put(message_.get(), attribute, static_cast<int>(bytes), data) == 0);
  return *this;
}

NetlinkMessage& NetlinkMessage::text(int attribute, std::string_view value) {
  std::string terminated(value);
  return put(attribute, terminated.c_str(), terminated.size() + 1);
}

Result<Netlink> Netlink::open(int protocol) {
  Netlink self(GANTRY_TRY(netlink_socket(protocol, 0)));
  int on = 1;
  ::setsockopt(self.fd(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(self.fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  // KERNEL: every message of a batch is acknowledged at once, and what does not fit into the buffer
  // is dropped, said (ENOBUFS) only the first time: room for thousands of rules, and no wait
  // without end.
  const int room = 16 << 20;
  const timeval limit = {5, 0};
  ::setsockopt(self.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  ::setsockopt(self.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return self;
}

Result<Netlink> Netlink::subscribe(int protocol, std::initializer_list<int> groups) {
  Netlink self(GANTRY_TRY(netlink_socket(protocol, SOCK_NONBLOCK)));
  for (int group : groups) {
    if (::setsockopt(self.fd(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return Error::from_errno(errno, cat("listen to netlink group ", group));
    }
  }
  return self;
}

Netlink::Netlink(UniqueFd fd)
    : fd_(std::move(fd)), buffer_(std::make_unique_for_overwrite<char[]>(kReceiveBytes)) {}

Result<void> Netlink::send(nlmsghdr* header) {
  header->nlmsg_seq = ++sequence_;
  if (::send(fd(), header, header->nlmsg_len, 0) < 0) {
    return Error::from_errno(errno, "send to netlink");
  }
  return Result<void>();
}

Result<Netlink::Progress> Netlink::receive(const OnMessage& reply) {
  ssize_t got;
  do {
    got = ::recv(fd(), buffer_.get(), kReceiveBytes, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Error::from_errno(errno, "receive from netlink");
  int rest = static_cast<int>(got);
  Progress progress;
  for (auto* header = reinterpret_cast<nlmsghdr*>(buffer_.get()); nlmsg_ok(header, rest);
       header = nlmsg_next(header, &rest)) {
    if (header->nlmsg_seq != sequence_) continue;
    if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) progress.is_interrupted = true;
    if (header->nlmsg_type == NLMSG_DONE) progress.is_done = true;
    if (header->nlmsg_type == NLMSG_ERROR) {
      auto* failure = static_cast<nlmsgerr*>(nlmsg_data(header));
      if (failure->error != 0) {
        auto text = explanation(header, failure);
        return Error::from_errno(
            -failure->error, text.empty() ? std::string("netlink") : cat("netlink (", text, ")"));
      }
      progress.is_done = true;
    }
    if (progress.is_done) break;
    if (reply) reply(header);
  }
  return progress;
}

Result<void> Netlink::request(NetlinkMessage& message, const OnMessage& reply) {
  GANTRY_TRY(send(message.raw()));
  while (!GANTRY_TRY(receive(reply)).is_done) {
  }
  return Result<void>();
}

namespace {
NetlinkMessage batch_mark(uint16_t type) {
  NetlinkMessage mark(type, 0);
  nfgenmsg header{};
  header.res_id = htons(NFNL_SUBSYS_NFTABLES);
  mark.header(header);
  mark.raw()->nlmsg_flags = NLM_F_REQUEST;  // no acknowledgement: the messages' own tell
  return mark;
}
}  // namespace

// KERNEL: nfnetlink_rcv_batch acknowledges every message of the batch on its own, after the
// commit; an error of the commit itself comes under the number of the first. One number for all:
// after an error the rest is left unread and never matches again.
Result<void> Netlink::transaction(std::span<NetlinkMessage> messages) {
  NetlinkMessage begin = batch_mark(NFNL_MSG_BATCH_BEGIN), end = batch_mark(NFNL_MSG_BATCH_END);
  std::string batch;
  ++sequence_;
  auto append = [&](nlmsghdr* header) {
    header->nlmsg_seq = sequence_;
    batch.append(reinterpret_cast<char*>(header), header->nlmsg_len);
    batch.resize(NLMSG_ALIGN(batch.size()));
  };
  append(begin.raw());
  for (NetlinkMessage& message : messages) append(message.raw());
  append(end.raw());
  if (::send(fd(), batch.data(), batch.size(), 0) < 0) {
    return Error::from_errno(errno, "send to netlink");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    // What an earlier request has left unread comes first.
    while (!GANTRY_TRY(receive(nullptr)).is_done) {
    }
  }
  return Result<void>();
}

Result<void> Netlink::dump(NetlinkMessage& message, const std::function<void()>& restart,
                           const OnMessage& reply) {
  message.raw()->nlmsg_flags |= NLM_F_DUMP;
  for (int attempt = 0; attempt < kDumpTries; ++attempt) {
    restart();
    GANTRY_TRY(send(message.raw()));
    Progress progress;
    bool is_interrupted = false;
    while (!progress.is_done) {
      progress = GANTRY_TRY(receive(reply));
      is_interrupted |= progress.is_interrupted;
    }
    if (!is_interrupted) return Result<void>();
  }
  return Error(Errc::busy, "a netlink dump changed underneath each time");
}

Result<void> Netlink::drain(const OnMessage& message) {
  while (true) {
    ssize_t got = ::recv(fd(), buffer_.get(), kReceiveBytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Result<void>();
    if (got < 0 && errno == ENOBUFS) return Error(Errc::exhausted, "netlink messages were lost");
    if (got < 0) return Error::from_errno(errno, "receive from netlink");
    int rest = static_cast<int>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer_.get()); nlmsg_ok(header, rest);
         header = nlmsg_next(header, &rest)) {
      message(header);
    }
  }
}
}  // namespace gantry
