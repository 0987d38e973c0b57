#include "base/process_ref.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/process_stat.h"
#include "base/sys.h"

namespace gantry {
void kill_rest_of_session(pid_t first) {
  if (first > 1) ::kill(-first, SIGKILL);
}

const std::string& boot_id() {
  static const std::string id = [] {
    const auto text = sys::read_file("/proc/sys/kernel/random/boot_id");
    if (text && text->size() >= 36) return text->substr(0, 36);
    // Without it no process can be told from one of another boot: nothing goes on.
    std::fprintf(stderr, "gantry: %s\n", text ? "no boot id" : text.error().to_string().c_str());
    std::_Exit(1);
  }();
  return id;
}

Result<uint64_t> process_start_time(pid_t pid) { return GANTRY_TRY(process_stat(pid)).start_time; }

namespace {
// KERNEL: EINVAL is a thread's number. A lack of descriptors or memory says nothing about it.
bool is_gone(const Error& error) {
  return error.is_errno(ESRCH) || error.is_errno(ENOENT) || error.is_errno(EINVAL);
}
}  // namespace

Result<ProcessRef> ProcessRef::open(const ProcessIdentity& identity) {
  if (identity.boot_id != gantry::boot_id()) {
    return Error(Errc::not_found, cat("process ", identity.pid, " was of another boot"));
  }
  auto pidfd = sys::pidfd_open(identity.pid);
  if (!pidfd && !is_gone(pidfd.error())) return std::move(pidfd).error();
  if (!pidfd) return Error(Errc::not_found, cat("process ", identity.pid, " is gone"));
  // ORDER: the pidfd first; then whoever /proc shows under that pid is the pidfd's process, unless
  // it ended in between, which the second look at the pidfd would show to its waiter anyway.
  auto start = process_start_time(identity.pid);
  if (!start && !is_gone(start.error())) return std::move(start).error();
  if (!start || *start != identity.start_time) {
    return Error(Errc::not_found, cat("process ", identity.pid, " is another one now"));
  }
  return ProcessRef(std::move(*pidfd), identity);
}

Result<void> ProcessRef::signal(int number) const {
  return sys::pidfd_send_signal(pidfd(), number).context("process ", pid());
}
bool ProcessRef::ended() const { return sys::pidfd_ended(pidfd()); }
}  // namespace gantry
