// Exits: of our children by waitid, of a dead launcher's by pidfd.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/pidfd_info.h"
#include "launcher/child/child.h"
#include "launcher/child/raw.h"
#include "launcher/process/launcher.h"
#include "launcher/process/proc_stat.h"

namespace gantry::launcher {
namespace {
using child::raw;

constexpr int64_t kRetryForNs = 10'000'000'000;
constexpr int64_t kRetryEveryNs = 20'000'000;

int64_t realtime_ns() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

int wait_status_of(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

// Whether it may be one that never ran its command.
bool is_suspect(int wait_status) {
  if (WIFSIGNALED(wait_status)) return true;
  const int code = WEXITSTATUS(wait_status);
  return code == child::kExitFailed || code == child::kExitNoSignal;
}

// ORDER: before it is reaped; as long as it is not seen ended it may exec yet.
void note_exec(Slot& slot) {
  ProcStat stat;
  if ((slot.flags & kAdopted) != 0) return;
  if (!read_proc_stat(slot.pid, &stat) || stat.start_time != slot.start_time) return;
  slot.flags = stat.has_execed() ? 0u : kNeverExeced;
}

enum class Answered { kKnown, kNotYet, kNever };
Answered exit_of(int pidfd, int* status) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &info) != 0) {
    return errno == ENOTTY || errno == EINVAL ? Answered::kNever : Answered::kNotYet;
  }
  if ((info.mask & kPidfdInfoExit) == 0) return Answered::kNotYet;
  *status = info.exit_code;
  return Answered::kKnown;
}
}  // namespace

int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void Launcher::reap() {
  for (;;) {
    siginfo_t info{};
    rusage usage{};
    // KERNEL: never for one pid: the init of a pid namespace cannot finish dying while an exec'd
    // child of ours inside it is unreaped.
    int64_t rc = raw(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG, &usage);
    if (rc != 0 || info.si_pid == 0) return;
    const uint32_t slot = table_.find_pid(info.si_pid);
    // ORDER: the record before the reaping: a launcher that dies in between leaves a zombie whose
    // exit is on record, never a reaped child without one.
    if (slot != kNoSlot && load(table_.slot(slot)) == SlotState::kRunning) {
      record_exit(slot, info, &usage);
    }
    if (info.si_pid == logger_pid_) logger_pid_ = 0;  // its socket's end-of-file does the rest
    siginfo_t ignored;
    raw(SYS_waitid, P_PID, info.si_pid, &ignored, WEXITED | WNOHANG, nullptr);
  }
}

void Launcher::record_exit(uint32_t slot, const siginfo_t& info, const void* usage) {
  const rusage& used = *static_cast<const rusage*>(usage);
  Slot& s = table_.slot(slot);
  s.wait_status = wait_status_of(info);
  s.exit_time_ns = realtime_ns();
  s.user_us = static_cast<uint64_t>(used.ru_utime.tv_sec * 1'000'000 + used.ru_utime.tv_usec);
  s.system_us = static_cast<uint64_t>(used.ru_stime.tv_sec * 1'000'000 + used.ru_stime.tv_usec);
  s.max_rss_kib = static_cast<uint64_t>(used.ru_maxrss);
  if (is_suspect(s.wait_status)) note_exec(s);
  table_.set_ended(slot, SlotState::kExited);
  push_exit(slot);
}

void Launcher::adopt_orphans() {
  for (uint32_t i = 0; i < table_.high_water(); ++i) {
    if (table_.slot(i).state != SlotState::kOrphan) continue;
    Slot& s = table_.slot(i);
    int pidfd = static_cast<int>(raw(SYS_pidfd_open, s.pid, 0));
    // ORDER: the pidfd first, then /proc: whoever is seen there is the pidfd's process.
    if (pidfd >= 0 && read_start_time(s.pid) != s.start_time) {
      close(pidfd);
      pidfd = -1;
    }
    if (pidfd >= 0) pidfd = move_up(pidfd);
    if (pidfd < 0) {
      s.exit_time_ns = realtime_ns();
      table_.set_ended(i, SlotState::kLost);
      push_exit(i);
      continue;
    }
    table_.kept(i).pidfd = pidfd;
    note_exec(s);
    watch(pidfd, kOrphanExit, i, EPOLLIN);
  }
}

void Launcher::look_at_orphan(uint32_t slot) {
  Slot& s = table_.slot(slot);
  Kept& kept = table_.kept(slot);
  if (s.state != SlotState::kOrphan || kept.pidfd < 0) return;
  note_exec(s);
  int status = 0;
  const Answered answered = exit_of(kept.pidfd, &status);
  const int64_t now = monotonic_ns();
  if (answered == Answered::kNotYet) {
    if (kept.retry_until_ns == 0) {
      // KERNEL: no exit information until its new parent has reaped it, maybe seconds later; a
      // readable pidfd would wake us all the time meanwhile.
      kept.retry_until_ns = now + kRetryForNs;
      ++retry_count_;
      epoll_ctl(epoll_, EPOLL_CTL_DEL, kept.pidfd, nullptr);
    }
    if (now < kept.retry_until_ns) return;
  }
  if (kept.retry_until_ns != 0) --retry_count_;
  kept.retry_until_ns = 0;
  close(kept.pidfd);
  kept.pidfd = -1;
  s.wait_status = status;
  s.exit_time_ns = realtime_ns();
  table_.set_ended(slot, answered == Answered::kKnown ? SlotState::kExited : SlotState::kLost);
  push_exit(slot);
}

int64_t Launcher::next_retry_ns() const { return retry_count_ == 0 ? -1 : kRetryEveryNs; }

void Launcher::retry_orphans() {
  for (uint32_t i = 0; retry_count_ > 0 && i < table_.high_water(); ++i) {
    if (table_.kept(i).retry_until_ns != 0) look_at_orphan(i);
  }
}
}  // namespace gantry::launcher
