// The end of a prelude: a prepared child waits here for the launch it becomes (docs/adr/0013).
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "launcher/child/child.h"
#include "launcher/child/raw.h"

namespace gantry::child {
namespace {
struct Message {
  int fds[kMaxPlanFds + 1];  // the plan's memfd, then those it names
  int count = 0;
};

// Waits for one message; end-of-file ends the child: whoever was to send it is gone.
Outcome receive(int socket, Message* out) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof out->fds)];
  char byte;
  iovec part = {&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  int64_t n;
  do {
    n = raw(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC);
  } while (n == -EINTR);
  if (n != 1) exit_now(kExitNoSignal);
  const cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (c == nullptr || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
      (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return fail(EPROTO, Substep::kSource);
  }
  out->count = static_cast<int>((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  const int* received = reinterpret_cast<const int*>(CMSG_DATA(c));
  for (int i = 0; i < out->count; ++i) out->fds[i] = received[i];
  return ok();
}
}  // namespace

Outcome next_plan(State& s, const Op& op) {
  // For who lists processes: until now it is named as its parent is.
  raw(SYS_prctl, PR_SET_NAME, "gantry-prepared", 0, 0, 0);
  const ChildReport ready = {s.op_index, static_cast<uint16_t>(op.kind), 1, 0, 0};
  Outcome sent = check(raw(SYS_write, s.report_fd, &ready, sizeof ready));
  if (sent.error != 0) return sent;
  // What the plan names stays in use until the exec: the child has but this one.
  static Message message;
  Outcome received = receive(s.fds[op.fd], &message);
  if (received.error != 0) return received;
  struct stat st;
  int64_t rc = raw(SYS_newfstatat, message.fds[0], "", &st, AT_EMPTY_PATH);
  if (rc < 0) return fail(rc, Substep::kSource);
  const size_t bytes = static_cast<size_t>(st.st_size);
  const int64_t at = raw(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_POPULATE, message.fds[0], 0);
  if (at < 0) return fail(at, Substep::kMount);
  if (check_plan(reinterpret_cast<void*>(at), bytes, &s.plan) != nullptr ||
      s.plan.header->fd_count != static_cast<uint32_t>(message.count - 1)) {
    return fail(EPROTO, Substep::kVerify);
  }
  relocate(&s.plan);
  s.fds = message.fds + 1;
  s.is_replaced = true;
  return ok();
}
}  // namespace gantry::child
