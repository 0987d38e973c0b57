// The launcher becomes another program: same process, still the parent of every container. Exits
// meanwhile wait as zombies, requests in their sockets.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/child/raw.h"
#include "launcher/process/handover.h"

namespace gantry::launcher {
namespace {
using child::raw;
constexpr int kTrialLimitMs = 2000;

bool is_sealed(int fd) {
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  return (fcntl(fd, F_GET_SEALS) & kSeals) == kSeals;
}

// Whether the program runs here at all, and understands this launcher's table: exec has no way
// back.
bool can_take_over(int program) {
  char version[12];
  snprintf(version, sizeof version, "%d", kProtocolVersion);
  char* const argv[] = {const_cast<char*>("gantry-launcher"), const_cast<char*>("--can-take-over"),
                        version, nullptr};
  char* const envp[] = {nullptr};
  const pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) {
    raw(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
    _exit(127);
  }
  const int pidfd = static_cast<int>(raw(SYS_pidfd_open, pid, 0));
  pollfd ended = {pidfd, POLLIN, 0};
  if (pidfd < 0 || poll(&ended, 1, kTrialLimitMs) != 1) kill(pid, SIGKILL);
  if (pidfd >= 0) close(pidfd);
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool write_all(int fd, const void* bytes, size_t size) {
  return write(fd, bytes, size) == static_cast<ssize_t>(size);
}

void set_cloexec(int fd, bool is_kept) {
  if (fd >= 0) fcntl(fd, F_SETFD, is_kept ? 0 : FD_CLOEXEC);
}

// Reads a struct that may be longer or shorter than this program's.
template <class T>
bool read_known(int fd, uint64_t at, uint32_t bytes, T* out) {
  const size_t known = bytes < sizeof *out ? bytes : sizeof *out;
  return pread(fd, out, known, static_cast<off_t>(at)) == static_cast<ssize_t>(known);
}
}  // namespace

void Launcher::upgrade(uint32_t index, const Request& request, node::Received& received) {
  if (received.fd_count != 2 || !is_sealed(received.fds[0]) || !is_sealed(received.fds[1])) {
    return answer(index, request, EINVAL, "an upgrade needs two sealed programs");
  }
  if (!can_take_over(received.fds[0])) {
    return answer(index, request, ENOEXEC, "the new launcher cannot take this one's table over");
  }
  const int logger = move_up(received.fds[1]);
  if (logger < 0) return answer(index, request, errno, "no descriptor is left");
  received.fds[1] = -1;
  const int handover = write_handover(index, request);
  if (handover < 0) {
    close(logger);
    return answer(index, request, -handover, "write the handover");
  }
  char handover_fd[12], logger_fd[12], name[kKeyBytes];
  snprintf(handover_fd, sizeof handover_fd, "%d", handover);
  snprintf(logger_fd, sizeof logger_fd, "%d", logger);
  memcpy(name, request.key, sizeof name);
  const char* const argv[] = {"gantry-launcher",
                              "--runtime-dir",
                              options_.runtime_dir,
                              "--cgroup-root",
                              options_.cgroup_root,
                              "--build",
                              name,
                              "--logger-fd",
                              logger_fd,
                              "--handover-fd",
                              handover_fd,
                              nullptr};
  char* const envp[] = {nullptr};
  keep_over_exec(true);
  set_cloexec(logger, true);
  // KERNEL: blocked and pending signals, the record lock and our children stay ours.
  const int64_t error = raw(SYS_execveat, received.fds[0], "", argv, envp, AT_EMPTY_PATH);
  keep_over_exec(false);
  close(handover);
  close(logger);
  answer(index, request, static_cast<int>(-error), "become the new launcher");
}

// -errno when it fails.
int Launcher::write_handover(uint32_t index, const Request& request) {
  HandoverHeader header;
  header.entry_bytes = sizeof(HandoverEntry);
  header.request = request.head.request;
  header.client = index;
  header.lock = options_.lock;
  header.listen = listen_;
  header.logger_listen = logger_listen_;
  header.logger = logger_;
  header.logger_pid = logger_pid_;
  for (int i = 0; i < kMaxClients; ++i) {
    header.clients[i].fd = clients_[i].fd;
    header.clients[i].missed_exits = clients_[i].missed_exits ? 1 : 0;
  }
  int fd = memfd_create("gantry-handover", 0);
  if (fd < 0) return -errno;
  bool is_written = lseek(fd, sizeof header, SEEK_SET) > 0;
  for (uint32_t i = 0; is_written && i < table_.high_water(); ++i) {
    const Kept& kept = table_.kept(i);
    const bool is_free = load(table_.slot(i)) == SlotState::kFree;
    if (is_free && kept.pending == 0) continue;
    const HandoverEntry entry = {i,       kept.pending, kept.out,           kept.err,
                                 kept.in, kept.pidfd,   kept.retry_until_ns};
    is_written = write_all(fd, &entry, sizeof entry);
    ++header.entries;
  }
  if (is_written && pwrite(fd, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header)) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return -error;
}

void Launcher::keep_over_exec(bool is_kept) {
  const int own[] = {options_.lock, listen_, logger_listen_, logger_};
  for (int fd : own) set_cloexec(fd, is_kept);
  for (const Client& client : clients_) set_cloexec(client.fd, is_kept);
  for (uint32_t i = 0; i < table_.high_water(); ++i) {
    if (load(table_.slot(i)) == SlotState::kFree) continue;
    const Kept& kept = table_.kept(i);
    const int fds[] = {kept.out, kept.err, kept.in, kept.pidfd};
    for (int fd : fds) set_cloexec(fd, is_kept);
  }
}

const char* Launcher::open_again(int runtime_dir, int handover) {
  HandoverHeader header;
  uint32_t sizes[4] = {};  // magic, header_bytes, entry_bytes, entries
  if (!read_known(handover, 0, sizeof sizes, &sizes) || sizes[0] != kHandoverMagic ||
      !read_known(handover, 0, sizes[1], &header)) {
    return "read the handover";
  }
  if (const char* wrong = table_.open(runtime_dir, Table::Former::became_this)) return wrong;
  if (const char* wrong = open_loop()) return wrong;
  options_.lock = header.lock;
  listen_ = raise(header.listen);
  logger_listen_ = raise(header.logger_listen);
  logger_ = raise(header.logger);
  logger_pid_ = header.logger_pid;
  for (uint32_t n = 0; n < sizes[3]; ++n) {
    HandoverEntry entry;
    if (!read_known(handover, sizes[1] + uint64_t{n} * sizes[2], sizes[2], &entry) ||
        entry.slot >= table_.high_water()) {
      return "read the handover";
    }
    table_.kept(entry.slot) = {entry.out,    entry.err, entry.in, entry.pidfd, entry.retry_until_ns,
                               entry.pending};
    if (entry.pending != 0) ++pending_count_;
    if (entry.retry_until_ns != 0) {
      ++retry_count_;
    } else if (entry.pidfd >= 0) {
      watch(entry.pidfd, kOrphanExit, entry.slot, EPOLLIN);
    }
  }
  close(handover);
  for (uint32_t i = 0; i < kMaxClients; ++i) {
    clients_[i] = {raise(header.clients[i].fd), header.clients[i].missed_exits != 0};
    const uint32_t writable = clients_[i].missed_exits ? static_cast<uint32_t>(EPOLLOUT) : 0u;
    if (clients_[i].fd >= 0) watch(clients_[i].fd, kClient, i, EPOLLIN | EPOLLET | writable);
  }
  watch(listen_, kListen, 0, EPOLLIN);
  if (logger_ >= 0) watch(logger_, kLogger, 0, EPOLLIN | EPOLLET);
  keep_over_exec(false);
  set_cloexec(options_.logger_binary, false);
  // ORDER: before the answer: whoever has it finds every exit of before in the table.
  reap();
  // The logger goes with its launcher's version; its end starts the new one.
  if (logger_ >= 0) {
    Request stop;
    stop.head.type = MessageType::kStop;
    if (node::send(logger_, &stop, sizeof stop, nullptr, 0) != 0 && logger_pid_ > 0) {
      kill(logger_pid_, SIGKILL);
    }
  }
  Request asked;
  asked.head.request = header.request;
  if (header.client < kMaxClients && clients_[header.client].fd >= 0) {
    answer(header.client, asked, 0);
  }
  return nullptr;
}
}  // namespace gantry::launcher
