// The link to gantry-logger: its process, what it must be told, what it hands back.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/child/raw.h"
#include "launcher/process/launcher.h"

namespace gantry::launcher {
void Launcher::close_kept(uint32_t slot) {
  Kept& kept = table_.kept(slot);
  int* const all[] = {&kept.out, &kept.err, &kept.in};
  for (int* fd : all) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

// A logger that outlived its launcher, or a new one.
void Launcher::connect_logger() {
  int fd = node::connect_to(logger_socket_path_);
  if (fd < 0) return start_logger();
  Request hello;
  hello.head.type = MessageType::kLauncherHello;
  if (node::send(fd, &hello, sizeof hello, nullptr, 0) != 0) {
    close(fd);
    return start_logger();
  }
  logger_ = raise(fd);
  // ORDER: its entries are awaited before the first request, so that no key is told twice. It is
  // local and single-threaded; two seconds without a message count as dead.
  const int64_t deadline = monotonic_ns() + 2'000'000'000;
  for (;;) {
    Request request;
    node::Received received;
    node::receive(logger_, &request, sizeof request, &received);
    if (received.bytes == -EAGAIN && monotonic_ns() < deadline) {
      usleep(200);
      continue;
    }
    if (received.bytes != static_cast<ssize_t>(sizeof request)) {
      received.close_rest();
      close(logger_);
      logger_ = -1;
      return start_logger();
    }
    const bool is_end = request.head.type == MessageType::kHeldEnd;
    if (is_end && received.fd_count == 1) {
      logger_listen_ = raise(received.fds[0]);
      received.fds[0] = -1;
    } else {
      held(request, received);
    }
    received.close_rest();
    if (is_end) break;
  }
  watch(logger_, kLogger, 0, EPOLLIN | EPOLLET);
  for (uint32_t i = 0; i < table_.high_water(); ++i) {
    if (table_.slot(i).state == SlotState::kFree) continue;
    if ((table_.slot(i).io & (kIoStdout | kIoStderr)) != 0) tell_logger(i, kPendingAdd);
  }
}

void Launcher::held(const Request& request, node::Received& received) {
  char key[kKeyBytes];
  memcpy(key, request.key, sizeof key);
  key[sizeof key - 1] = '\0';
  const uint32_t slot = table_.find(key);
  if (slot == kNoSlot) return;
  Kept& kept = table_.kept(slot);
  int* const places[] = {&kept.out, &kept.err, &kept.in};
  for (int i = 0, next = 0; i < 3; ++i) {
    if ((request.flags & (1u << i)) == 0 || next >= received.fd_count) continue;
    if (*places[i] < 0) {
      *places[i] = move_up(received.fds[next]);
      received.fds[next] = -1;
    }
    ++next;
  }
}

void Launcher::start_logger() {
  // A logger that dies at once must not become a loop of forks: at most two in a second, the rest
  // from the loop's timer.
  const int64_t now = monotonic_ns();
  if (now - logger_started_ns_[1] < 1'000'000'000) return;
  logger_started_ns_[1] = logger_started_ns_[0];
  logger_started_ns_[0] = now;
  if (logger_listen_ < 0) logger_listen_ = raise(node::listen_at(logger_socket_path_));
  int pair[2];
  if (logger_listen_ < 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return;
  }
  const pid_t pid = fork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    // 3: the launcher's socket, 4: the listening socket. Moved out of the way first.
    int mine = fcntl(pair[1], F_DUPFD, 10), listening = fcntl(logger_listen_, F_DUPFD, 10);
    int binary = fcntl(options_.logger_binary, F_DUPFD_CLOEXEC, 10);
    dup2(mine, 3);
    dup2(listening, 4);
    child::raw(SYS_close_range, 5, binary - 1, 0);
    child::raw(SYS_close_range, binary + 1, ~0u, 0);
    char* const argv[] = {const_cast<char*>("gantry-logger"), nullptr};
    char* const envp[] = {nullptr};
    child::raw(SYS_execveat, binary, "", argv, envp, AT_EMPTY_PATH);
    _exit(127);
  }
  close(pair[1]);
  if (pid < 0) {
    close(pair[0]);
    return;
  }
  logger_pid_ = pid;
  logger_ = raise(pair[0]);
  watch(logger_, kLogger, 0, EPOLLIN | EPOLLET);
}

void Launcher::read_logger() {
  for (;;) {
    Request request;
    node::Received received;
    node::receive(logger_, &request, sizeof request, &received);
    if (received.bytes == -EAGAIN) return;
    received.close_rest();
    if (received.bytes != static_cast<ssize_t>(sizeof request)) return logger_lost();
    if (request.head.type != MessageType::kDrained || request.slot >= table_.high_water()) continue;
    Slot& s = table_.slot(request.slot);
    if (strncmp(s.key, request.key, sizeof s.key) != 0) continue;  // the slot has a new user
    Kept& kept = table_.kept(request.slot);
    int* const pipes[] = {&kept.out, &kept.err};
    for (int* fd : pipes) {
      if (*fd >= 0) close(*fd);
      *fd = -1;
    }
  }
}

void Launcher::logger_lost() {
  close(logger_);
  logger_ = -1;
  restart_logger();
}

void Launcher::restart_logger() {
  // The pipes are kept here and what they hold with them: not a byte is lost.
  start_logger();
  if (logger_ < 0) return;
  // ORDER: all that waited is forgotten before the first is told: nobody overtakes those who wait.
  for (uint32_t i = 0; i < table_.high_water(); ++i) table_.kept(i).pending = 0;
  pending_count_ = 0;
  for (uint32_t i = 0; i < table_.high_water(); ++i) {
    if (table_.slot(i).state == SlotState::kFree) continue;
    if ((table_.slot(i).io & (kIoStdout | kIoStderr)) != 0) tell_logger(i, kPendingAdd);
  }
}

void Launcher::tell_logger(uint32_t slot, uint32_t what) {
  Kept& kept = table_.kept(slot);
  if (kept.pending == 0) ++pending_count_;
  kept.pending |= what;
  if (what == kPendingRemove) kept.pending &= ~kPendingAdd;
  // ORDER: nobody overtakes: while others wait for room this one waits too.
  if (logger_ >= 0 && pending_count_ == 1 && !send_pending(slot)) {
    watch(logger_, kLogger, 0, EPOLLIN | EPOLLOUT | EPOLLET);
  }
}

// False when the logger's socket is full; what is left stays pending.
bool Launcher::send_pending(uint32_t slot) {
  Kept& kept = table_.kept(slot);
  static constexpr struct {
    uint32_t flag;
    MessageType type;
  } kOrder[] = {{kPendingRemove, MessageType::kRemove},
                {kPendingAdd, MessageType::kAdd},
                {kPendingDropStdin, MessageType::kDropStdin}};
  for (const auto& step : kOrder) {
    if ((kept.pending & step.flag) == 0) continue;
    const Slot& s = table_.slot(slot);
    Request message;
    message.head.type = step.type;
    message.slot = slot;
    int fds[3];
    int count = 0;
    if (step.type == MessageType::kAdd) {
      memcpy(message.key, s.key, sizeof message.key);
      memcpy(message.log_directory, s.log_directory, sizeof message.log_directory);
      message.sizes[0] = s.log_max_bytes;
      message.sizes[1] = s.log_max_files;
      message.flags = s.io & kIoTerminal;
      const int kept_fds[] = {kept.out, kept.err, kept.in};
      for (uint32_t i = 0; i < 3; ++i) {
        if (kept_fds[i] < 0) continue;
        fds[count++] = kept_fds[i];
        message.flags |= 1u << i;
      }
    }
    const int rc = node::send(logger_, &message, sizeof message, fds, count);
    if (rc == -EAGAIN) return false;
    kept.pending &= ~step.flag;
  }
  --pending_count_;
  return true;
}

void Launcher::send_all_pending() {
  for (uint32_t i = 0; pending_count_ > 0 && i < table_.high_water(); ++i) {
    if (table_.kept(i).pending != 0 && !send_pending(i)) return;
  }
  watch(logger_, kLogger, 0, EPOLLIN | EPOLLET);
}
}  // namespace gantry::launcher
