// ProcessRef: a process held by pidfd, and what proves that it is still the same one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// What a record keeps of a process. A pid alone is never enough: pids are reused.
struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat, clock ticks since boot
  std::string boot_id;      // /proc/sys/kernel/random/boot_id
  bool operator==(const ProcessIdentity&) const = default;
};

// SIGKILL to what a session's first process has left, after it ended badly. KERNEL: its number
// names no other process while one of the group is left; a group that is gone is nobody.
void kill_rest_of_session(pid_t first);

const std::string& boot_id();
Result<uint64_t> process_start_time(pid_t pid);

class ProcessRef {
 public:
  ProcessRef(UniqueFd pidfd, ProcessIdentity identity)
      : pidfd_(std::move(pidfd)), identity_(std::move(identity)) {}
  // The process of a record, if it is still that process. Errc::not_found when it is gone or
  // another one has its pid; a zombie still counts as there.
  static Result<ProcessRef> open(const ProcessIdentity& identity);

  int pidfd() const { return pidfd_.get(); }
  pid_t pid() const { return identity_.pid; }
  const ProcessIdentity& identity() const { return identity_; }
  Result<void> signal(int number) const;
  bool ended() const;

 private:
  UniqueFd pidfd_;
  ProcessIdentity identity_;
};
}  // namespace gantry
