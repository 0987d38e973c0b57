// Acting inside another network namespace, from a thread of the offload pool.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <string>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// The network namespace of the process a pidfd holds. Errc::not_found when it has ended;
// Errc::invalid when it is the caller's own namespace.
Result<UniqueFd> open_net_namespace(int pidfd, pid_t pid);
// The calling thread's.
Result<UniqueFd> open_own_net_namespace();

// Runs `work` with the calling thread inside the namespace and brings the thread back. A thread
// that cannot come back must not go on: that aborts.
template <class Work>
std::invoke_result_t<Work> in_net_namespace(int namespace_fd, Work work) {
  UniqueFd home = GANTRY_TRY(open_own_net_namespace());
  if (::setns(namespace_fd, CLONE_NEWNET) != 0) {
    return Error::from_errno(errno, "enter the container's network namespace");
  }
  auto result = work();
  GANTRY_CHECK(::setns(home.get(), CLONE_NEWNET) == 0);
  return result;
}

// Writes a file below /proc/sys of the calling thread's network namespace, unless it says so
// already (a read-only /proc/sys is then no trouble).
Result<void> write_net_sysctl(const std::string& path, std::string_view value);
}  // namespace gantry
