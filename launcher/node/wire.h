// Messages with descriptors for the static programs: fixed buffers, no allocation.
#pragma once

#include <sys/types.h>

#include "launcher/protocol.h"

namespace gantry::node {
inline constexpr int kMaxMessageFds = 253;  // KERNEL: SCM_MAX_FD

struct Received {
  ssize_t bytes = 0;  // -errno; 0: end-of-file
  int fd_count = 0;
  int fds[kMaxMessageFds];

  // Closes what was not taken (a taken one is set to -1).
  void close_rest();
};

// One message into `buffer`. Never blocks. A message that did not fit is -EMSGSIZE.
void receive(int socket, void* buffer, size_t size, Received* out);
// 0 or -errno; never blocks, never raises SIGPIPE.
int send(int socket, const void* bytes, size_t size, const int* fds, int fd_count);
// A listening SEQPACKET socket at `path`, 0600, replacing what is there; -errno on failure.
int listen_at(const char* path);
int connect_to(const char* path);
// The uid of the process at the other end; -1 when unknown.
int peer_uid(int socket);
}  // namespace gantry::node
