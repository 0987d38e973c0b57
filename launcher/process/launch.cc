// One launch: check the plan, clone, record, answer.
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/child/child.h"
#include "launcher/child/raw.h"
#include "launcher/process/launcher.h"
#include "launcher/process/proc_stat.h"

namespace gantry::launcher {
namespace {
using child::raw;

// A plan in memory of ours that its sender can no longer change.
struct MappedPlan {
  void* bytes = MAP_FAILED;
  size_t size = 0;
  child::PlanView view;
  ~MappedPlan() {
    if (bytes != MAP_FAILED) munmap(bytes, size);
  }
};

const char* map_plan(int memfd, MappedPlan* plan) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  struct stat st;
  if ((fcntl(memfd, F_GET_SEALS) & kSeals) != kSeals || fstat(memfd, &st) != 0) {
    return "the plan is not sealed";
  }
  plan->size = static_cast<size_t>(st.st_size);
  if (plan->size == 0 || plan->size > kMaxPlanBytes) return "the plan has a wrong size";
  // Populated: the copies are made here once instead of by faults in the child.
  plan->bytes =
      mmap(nullptr, plan->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, memfd, 0);
  if (plan->bytes == MAP_FAILED) return "the plan cannot be mapped";
  return child::check_plan(plan->bytes, plan->size, &plan->view);
}

// A child that does not get to run within it is killed.
constexpr int64_t kPartWithinNs = 5'000'000'000;
constexpr int64_t kLookEveryNs = 20'000'000;

// The child's first step: descriptors of its own, of which those kept for others are none.
void part(uint32_t* parted) {
  if (raw(SYS_close_range, kKeptBase, ~0u, CLOSE_RANGE_UNSHARE) < 0) {
    raw(SYS_exit_group, child::kExitFailed);
  }
  __atomic_store_n(parted, 1, __ATOMIC_RELEASE);
  raw(SYS_futex, parted, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

// KERNEL: a process's start time is the boot clock when it was cloned, in ticks of 10 ms; when both
// looks around the clone fall into one tick there is nothing to read from /proc.
uint64_t boot_ticks() {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 100 + static_cast<uint64_t>(now.tv_nsec) / 10'000'000;
}
}  // namespace

uint64_t read_start_time(int pid) {
  ProcStat stat;
  return read_proc_stat(pid, &stat) ? stat.start_time : 0;
}

int Launcher::move_up(int fd) {
  int up = fcntl(fd, F_DUPFD_CLOEXEC, kKeptBase);
  if (up >= 0) close(fd);
  return up;
}

int Launcher::raise(int fd) {
  if (fd < 0 || fd >= kKeptBase) return fd;
  const int up = fcntl(fd, F_DUPFD_CLOEXEC, kKeptBase);
  if (up < 0) return fd;
  close(fd);
  return up;
}

const char* Launcher::check_launch(const Request& request, const node::Received& received,
                                   int* error) {
  *error = EINVAL;
  if (request.key[0] == '\0') return "a launch needs a key";
  if (received.fd_count < 1 + __builtin_popcount(request.flags & 7)) return "descriptors missing";
  if (table_.find(request.key) != kNoSlot) {
    *error = EEXIST;
    return "the key is in use";
  }
  return nullptr;
}

void Launcher::launch(uint32_t index, Request& request, node::Received& received) {
  int error = 0;
  if (const char* wrong = check_launch(request, received, &error)) {
    return answer(index, request, error, wrong);
  }
  MappedPlan plan;
  if (const char* wrong = map_plan(received.fds[0], &plan)) {
    return answer(index, request, EINVAL, wrong);
  }
  if (plan.view.header->report_fd < 0) return answer(index, request, EINVAL, "no report pipe");
  const int io_count = __builtin_popcount(request.flags & 7);
  if (plan.view.header->fd_count != static_cast<uint32_t>(received.fd_count - 1 - io_count)) {
    return answer(index, request, EINVAL, "the plan names other descriptors");
  }
  const uint32_t slot = take_slot(index, request, received, received.fd_count - io_count);
  if (slot == kNoSlot) return;

  int pidfd = -1;
  uint64_t start_time = 0;
  const int pid = clone_child(plan.view, received.fds + 1, &pidfd, &start_time);
  if (pid < 0) {
    close_kept(slot);
    table_.release(slot);
    return answer(index, request, -pid, "clone");
  }
  table_.set_running(slot, pid, start_time, SlotState::kRunning);
  answer_running(index, request, slot, pidfd);
}

uint32_t Launcher::take_slot(uint32_t index, const Request& request, node::Received& received,
                             int first) {
  // The exit record's space comes first: an exit can never be without a place.
  const uint32_t slot = table_.reserve(request.key);
  if (slot == kNoSlot) {
    answer(index, request, ENOSPC,
           table_.is_full() ? "65,536 containers are known" : "no room for the launcher's table");
    return kNoSlot;
  }
  if (keep_io(index, request, received, first, slot)) return slot;
  table_.release(slot);
  return kNoSlot;
}

bool Launcher::keep_io(uint32_t index, const Request& request, node::Received& received, int first,
                       uint32_t slot) {
  Kept& kept = table_.kept(slot);
  int* const places[] = {&kept.out, &kept.err, &kept.in};
  for (int i = 0, next = first; i < 3; ++i) {
    if ((request.flags & (1u << i)) == 0) continue;
    *places[i] = move_up(received.fds[next]);
    if (*places[i] < 0) {
      const int error = errno;
      close_kept(slot);
      answer(index, request, error, "no descriptor is left for the output's pipes");
      return false;
    }
    received.fds[next++] = -1;
  }
  Slot& entry = table_.slot(slot);
  entry.io = request.flags & 7;
  memcpy(entry.log_directory, request.log_directory, sizeof entry.log_directory);
  entry.log_max_bytes = request.sizes[0];
  entry.log_max_files = static_cast<uint32_t>(request.sizes[1]);
  return true;
}

void Launcher::answer_running(uint32_t index, const Request& request, uint32_t slot, int pidfd) {
  const Slot& entry = table_.slot(slot);
  Answer reply;
  reply.head.type = MessageType::kDone;
  reply.head.request = request.head.request;
  reply.slot = slot;
  reply.pid = entry.pid;
  reply.start_time = entry.start_time;
  send_answer(index, reply, &pidfd, 1);
  close(pidfd);
  if ((entry.io & (kIoStdout | kIoStderr)) != 0) tell_logger(slot, kPendingAdd);
}

void Launcher::adopt(uint32_t index, Request& request, node::Received& received) {
  const int io_count = __builtin_popcount(request.flags & 7);
  if (request.key[0] == '\0' || request.pid <= 0 || received.fd_count != io_count) {
    return answer(index, request, EINVAL, "an adoption needs a key and a pid");
  }
  if (table_.find(request.key) != kNoSlot || table_.find_pid(request.pid) != kNoSlot) {
    return answer(index, request, EEXIST, "the key or the process is in use");
  }
  siginfo_t info{};
  // KERNEL: ECHILD where it is no child of ours; nothing is reaped. Only this thread reaps our
  // children, so a pid that is one stays that process until the loop goes on.
  if (raw(SYS_waitid, P_PID, request.pid, &info, WEXITED | WNOWAIT | WNOHANG, nullptr) != 0) {
    return answer(index, request, ESRCH, "no child of the launcher");
  }
  const int pidfd = static_cast<int>(raw(SYS_pidfd_open, request.pid, 0));
  if (pidfd < 0) return answer(index, request, -pidfd, "pidfd");
  const uint32_t slot = take_slot(index, request, received, 0);
  if (slot == kNoSlot) {
    close(pidfd);
    return;
  }
  table_.slot(slot).flags = (request.flags & kIsToExec) != 0 ? 0 : kAdopted;
  table_.set_running(slot, request.pid, read_start_time(request.pid), SlotState::kRunning);
  answer_running(index, request, slot, pidfd);
}

void Launcher::assign(uint32_t index, Request& request, node::Received& received) {
  const uint32_t slot = request.slot;
  if (request.key[0] == '\0' || received.fd_count != __builtin_popcount(request.flags & 7)) {
    return answer(index, request, EINVAL, "an assignment needs a key");
  }
  if (slot >= table_.high_water() || load(table_.slot(slot)) != SlotState::kRunning ||
      table_.slot(slot).io != 0) {
    return answer(index, request, ESRCH, "no child waits in that slot");
  }
  if (table_.find(request.key) != kNoSlot) {
    return answer(index, request, EEXIST, "the key is in use");
  }
  if (!keep_io(index, request, received, 0, slot)) return;
  table_.rename(slot, request.key);
  answer(index, request, 0);
  if ((request.flags & (kIoStdout | kIoStderr)) != 0) tell_logger(slot, kPendingAdd);
}

// Kept like a pipe's end each: to read what it says, and to write what it is told.
void Launcher::give_terminal(uint32_t index, const Request& request, node::Received& received) {
  const uint32_t slot = table_.find(request.key);
  if (slot == kNoSlot || table_.slot(slot).io != 0 || received.fd_count != 1) {
    return answer(index, request, ESRCH, "no child without io has that key");
  }
  Kept& kept = table_.kept(slot);
  kept.in = fcntl(received.fds[0], F_DUPFD_CLOEXEC, kKeptBase);
  kept.out = move_up(received.fds[0]);
  if (kept.in < 0 || kept.out < 0) {
    const int error = errno;
    close_kept(slot);
    return answer(index, request, error, "no descriptor is left for the terminal");
  }
  received.fds[0] = -1;
  table_.slot(slot).io = kIoStdout | kIoStdin | kIoTerminal;
  answer(index, request, 0);
  tell_logger(slot, kPendingAdd);
}

// Until a child that shares our descriptors has parted with them, or will never run again.
void Launcher::wait_parted(int pid) {
  const int64_t deadline = monotonic_ns() + kPartWithinNs;
  const timespec look = {0, kLookEveryNs};
  while (__atomic_load_n(parted_, __ATOMIC_ACQUIRE) == 0) {
    if (raw(SYS_futex, parted_, FUTEX_WAIT, 0, &look, nullptr, 0) != -ETIMEDOUT) continue;
    siginfo_t info{};
    const int64_t rc = raw(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT | WNOHANG, nullptr);
    if (rc != 0 || info.si_pid != 0) return;
    if (monotonic_ns() < deadline) continue;
    kill(pid, SIGKILL);
    return;
  }
}

int Launcher::clone_child(const child::PlanView& plan, const int* fds, int* pidfd,
                          uint64_t* start_time) {
  const PlanHeader& header = *plan.header;
  const bool joins = header.pid_namespace_fd >= 0;
  if (joins && setns(fds[header.pid_namespace_fd], CLONE_NEWPID) != 0) return -errno;
  // SAFETY: strangers in that namespace see the child from its first moment, with our rights until
  // it drops them: they may not look into it or trace it (CVE-2016-9962). Its exec ends that.
  if (joins) prctl(PR_SET_DUMPABLE, 0);
  clone_args args{};
  args.flags = header.clone_flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(pidfd);
  args.exit_signal = SIGCHLD;
  if (header.cgroup_fd >= 0 && can_clone_into_cgroup_) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(fds[header.cgroup_fd]);
  }
  // KERNEL: fork copies the whole table of descriptors, thousands under a crowd, and close_range
  // closes them one by one; CLOSE_RANGE_UNSHARE of a table that is shared copies only what is not
  // in the range (close_range(2), Linux 5.9).
  const bool shares = !joins && table_.high_water() >= kManySlots;
  if (shares) {
    args.flags |= CLONE_FILES;
    __atomic_store_n(parted_, 0, __ATOMIC_RELEASE);
  }
  const uint64_t before = boot_ticks();
  int64_t pid = raw(SYS_clone3, &args, sizeof args);
  if (pid == -ENOSYS && (args.flags & CLONE_INTO_CGROUP) != 0) {
    // Decided once: a kernel before 5.7, or a filter above us. The child joins by itself then.
    can_clone_into_cgroup_ = false;
    args.flags &= ~CLONE_INTO_CGROUP;
    pid = raw(SYS_clone3, &args, sizeof args);
  }
  if (pid == 0) {
    if (shares) part(parted_);
    child::Start start;
    start.plan = plan;
    start.fds = fds;
    start.parent_pidfd = own_pidfd_;
    start.close_from = shares ? -1 : kKeptBase;
    if (header.cgroup_fd >= 0 && (args.flags & CLONE_INTO_CGROUP) == 0) {
      start.cgroup_directory = fds[header.cgroup_fd];
    }
    child::run(start);
  }
  const uint64_t after = boot_ticks();
  if (shares && pid > 0) wait_parted(static_cast<int>(pid));
  // KERNEL: only the next children are concerned; ours shall be born in our own pid namespace.
  if (joins) setns(own_pid_namespace_, CLONE_NEWPID);
  if (joins) prctl(PR_SET_DUMPABLE, 1);
  if (pid > 0) {
    *start_time = before == after ? after : read_start_time(static_cast<int>(pid));
  }
  return static_cast<int>(pid);
}
}  // namespace gantry::launcher
