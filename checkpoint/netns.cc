#include "checkpoint/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "base/sys.h"

namespace gantry {
namespace {
Result<void> loopback_up() {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "make a socket");
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
    return Error::from_errno(errno, "bring lo up");
  }
  return {};
}
}  // namespace

Result<UniqueFd> make_network_namespace() {
  UniqueFd before = GANTRY_TRY(sys::open("/proc/thread-self/ns/net", O_RDONLY));
  if (::unshare(CLONE_NEWNET) != 0) return Error::from_errno(errno, "make a network namespace");
  Result<UniqueFd> made = sys::open("/proc/thread-self/ns/net", O_RDONLY);
  Result<void> up = loopback_up();
  // A pool thread in the wrong namespace would do the host's work there.
  GANTRY_CHECK(::setns(before.get(), CLONE_NEWNET) == 0);
  GANTRY_TRY(std::move(up));
  return made;
}
}  // namespace gantry
