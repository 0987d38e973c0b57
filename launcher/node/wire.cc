#include "launcher/node/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace gantry::node {
void Received::close_rest() {
  // Descriptors of one message are mostly consecutive: one call for each run of them.
  for (int i = 0; i < fd_count; ++i) {
    if (fds[i] < 0) continue;
    int last = i;
    while (last + 1 < fd_count && fds[last + 1] == fds[last] + 1) ++last;
    if (last == i || syscall(SYS_close_range, fds[i], fds[last], 0) != 0) {
      for (int k = i; k <= last; ++k) close(fds[k]);
    }
    i = last;
  }
  fd_count = 0;
}

void receive(int socket, void* buffer, size_t size, Received* out) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxMessageFds)];
  iovec part = {buffer, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  out->fd_count = 0;
  do {
    out->bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (out->bytes < 0 && errno == EINTR);
  if (out->bytes < 0) {
    out->bytes = -errno;
    return;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const int count = static_cast<int>((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(out->fds + out->fd_count, CMSG_DATA(c), static_cast<size_t>(count) * sizeof(int));
    out->fd_count += count;
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    out->close_rest();
    out->bytes = -EMSGSIZE;
  }
}

int send(int socket, const void* bytes, size_t size, const int* fds, int fd_count) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
  iovec part = {const_cast<void*>(bytes), size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    const size_t fd_bytes = static_cast<size_t>(fd_count) * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fd_bytes);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fd_bytes);
    memcpy(CMSG_DATA(c), fds, fd_bytes);
  }
  ssize_t n;
  do {
    n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : 0;
}

namespace {
bool address_of(const char* path, sockaddr_un* address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address->sun_path) return false;
  strcpy(address->sun_path, path);
  return true;
}
}  // namespace

int listen_at(const char* path) {
  // Bound under a private name and renamed: nobody meets a socket that is not listened on.
  char temporary[200];
  snprintf(temporary, sizeof temporary, "%s.%d", path, getpid());
  sockaddr_un address;
  if (!address_of(temporary, &address)) return -ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  unlink(temporary);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      chmod(temporary, 0600) != 0 || listen(fd, 64) != 0 || rename(temporary, path) != 0) {
    int error = errno;
    unlink(temporary);
    close(fd);
    return -error;
  }
  return fd;
}

int connect_to(const char* path) {
  sockaddr_un address;
  if (!address_of(path, &address)) return -ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

int peer_uid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -1;
  return static_cast<int>(peer.uid);
}
}  // namespace gantry::node
