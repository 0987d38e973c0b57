// Netlink: one socket, one request at a time, answers checked. libnl builds and parses messages;
// the socket is ours, because libnl turns errno and the kernel's explanation into codes of its own.
//
// Threads: blocking; for the offload pool. A socket belongs to the network namespace it was made
// in.
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// A request under construction. Messages are small and fit their page: running out is a bug.
class NetlinkMessage {
 public:
  NetlinkMessage(uint16_t type, int flags);
  template <class Header>
  NetlinkMessage& header(const Header& header) {
    GANTRY_CHECK(nlmsg_append(message_.get(), const_cast<Header*>(&header), sizeof header,
                              NLMSG_ALIGNTO) == 0);
    return *this;
  }
  NetlinkMessage& put(int attribute, const void* data, size_t bytes);
  NetlinkMessage& text(int attribute, std::string_view value);  // NUL-terminated in the message
  NetlinkMessage& u8(int attribute, uint8_t value) { return put(attribute, &value, sizeof value); }
  NetlinkMessage& u32(int attribute, uint32_t value) {
    return put(attribute, &value, sizeof value);
  }
  NetlinkMessage& flag(int attribute) { return put(attribute, nullptr, 0); }
  // Attributes that `fill` adds go inside.
  template <class Fill>
  NetlinkMessage& nest(int attribute, Fill fill) {
    // KERNEL: nf_conntrack insists on the flag, rtnetlink takes it.
    nlattr* outer = nla_nest_start(message_.get(), attribute | NLA_F_NESTED);
    GANTRY_CHECK(outer != nullptr);
    fill(*this);
    nla_nest_end(message_.get(), outer);
    return *this;
  }
  NetlinkMessage& u16(int attribute, uint16_t value) {
    return put(attribute, &value, sizeof value);
  }
  nlmsghdr* raw() { return nlmsg_hdr(message_.get()); }

 private:
  struct Free {
    void operator()(nl_msg* message) const { nlmsg_free(message); }
  };
  std::unique_ptr<nl_msg, Free> message_;
};

class Netlink {
 public:
  // In the calling thread's network namespace. protocol: NETLINK_ROUTE, NETLINK_NETFILTER.
  static Result<Netlink> open(int protocol);
  // One that listens to multicast groups (RTNLGRP_…, NFNLGRP_…), non-blocking.
  static Result<Netlink> subscribe(int protocol, std::initializer_list<int> groups);

  // Sends and waits for the acknowledgement; replies before it go to `reply`. The kernel's own
  // explanation, where it gives one, is in the error.
  using OnMessage = std::function<void(nlmsghdr*)>;
  Result<void> request(NetlinkMessage& message, const OnMessage& reply = nullptr);
  // One transaction of nf_tables: all of the messages or none.
  Result<void> transaction(std::span<NetlinkMessage> messages);
  // A dump, tried again when the kernel says that it changed underneath (NLM_F_DUMP_INTR).
  // `restart` is called before each try.
  Result<void> dump(NetlinkMessage& message, const std::function<void()>& restart,
                    const OnMessage& reply);
  // Subscribed sockets: what has arrived. Errc::exhausted when the kernel dropped messages (look
  // at the state itself then).
  Result<void> drain(const OnMessage& message);

  int fd() const { return fd_.get(); }

 private:
  explicit Netlink(UniqueFd fd);
  struct Progress {
    bool is_done = false;
    bool is_interrupted = false;  // a dump that is not of one moment
  };
  Result<void> send(nlmsghdr* header);
  Result<Progress> receive(const OnMessage& reply);
  UniqueFd fd_;
  std::unique_ptr<char[]> buffer_;
  uint32_t sequence_ = 0;
};
}  // namespace gantry
