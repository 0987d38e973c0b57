#include "launcher/process/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/child/raw.h"

namespace gantry::launcher {
const char* Launcher::open_loop() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  own_pidfd_ = static_cast<int>(child::raw(SYS_pidfd_open, getpid(), 0));
  own_pid_namespace_ = ::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, SIGCHLD);
  // Blocked for good: nothing interrupts the loop, and a child begins with signals blocked.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  signals_ = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  void* const shared =
      mmap(nullptr, sizeof *parted_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  parted_ = shared == MAP_FAILED ? nullptr : static_cast<uint32_t*>(shared);
  if (epoll_ < 0 || own_pidfd_ < 0 || own_pid_namespace_ < 0 || signals_ < 0 || !parted_) {
    return "set up the event loop";
  }
  snprintf(logger_socket_path_, sizeof logger_socket_path_, "%s/%s", options_.runtime_dir,
           kLoggerSocket);
  watch(signals_, kSignal, 0, EPOLLIN);
  return nullptr;
}

const char* Launcher::open(int runtime_dir) {
  if (const char* wrong = table_.open(runtime_dir, Table::Former::died)) return wrong;
  if (const char* wrong = open_loop()) return wrong;
  char path[200];
  snprintf(path, sizeof path, "%s/%s", options_.runtime_dir, kLauncherSocket);
  connect_logger();
  adopt_orphans();
  listen_ = node::listen_at(path);
  if (listen_ < 0) {
    errno = -listen_;
    return "listen on launcher.sock";
  }
  listen_ = raise(listen_);
  watch(listen_, kListen, 0, EPOLLIN);
  return nullptr;
}

void Launcher::watch(int fd, Source source, uint32_t index, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(source) << 32 | index;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST) {
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }
}

int Launcher::serve() {
  epoll_event events[32];
  while (!stopping_) {
    const int64_t retry_ns = next_retry_ns();
    const int timeout = logger_ < 0    ? 200
                        : retry_ns < 0 ? -1
                                       : static_cast<int>(retry_ns / 1'000'000);
    const int count = epoll_wait(epoll_, events, 32, timeout);
    for (int i = 0; i < count; ++i) {
      dispatch(static_cast<uint32_t>(events[i].data.u64 >> 32),
               static_cast<uint32_t>(events[i].data.u64), events[i].events);
    }
    if (retry_count_ > 0) retry_orphans();
    if (logger_ < 0 && !stopping_) restart_logger();
  }
  return 0;
}

void Launcher::dispatch(uint32_t source, uint32_t index, uint32_t events) {
  switch (source) {
    case kListen:
      return accept_client();
    case kSignal: {
      // One SIGCHLD stands for any number of exits, and at most one waits.
      signalfd_siginfo ignored;
      (void)!read(signals_, &ignored, sizeof ignored);
      return reap();
    }
    case kClient:
      if ((events & EPOLLOUT) != 0 && clients_[index].missed_exits) push_exit(kNoSlot);
      if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read_client(index);
      return;
    case kLogger:
      if ((events & EPOLLOUT) != 0) send_all_pending();
      if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read_logger();
      return;
    case kOrphanExit:
      return look_at_orphan(index);
    default:
      return;
  }
}

void Launcher::accept_client() {
  int fd = accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  fd = raise(fd);
  if (node::peer_uid(fd) == 0) {
    for (uint32_t i = 0; i < kMaxClients; ++i) {
      if (clients_[i].fd >= 0) continue;
      clients_[i] = {fd, false};
      watch(fd, kClient, i, EPOLLIN | EPOLLET);
      return;
    }
  }
  close(fd);
}

void Launcher::drop_client(uint32_t index) {
  close(clients_[index].fd);
  clients_[index] = Client();
}

void Launcher::read_client(uint32_t index) {
  // KERNEL: edge-triggered: read until EAGAIN.
  for (;;) {
    Request request;
    node::Received received;
    node::receive(clients_[index].fd, &request, sizeof request, &received);
    if (received.bytes == -EAGAIN) return;
    if (received.bytes == static_cast<ssize_t>(sizeof request) &&
        request.head.magic == kProtocolMagic) {
      request.key[sizeof request.key - 1] = '\0';
      request.log_directory[sizeof request.log_directory - 1] = '\0';
      // The two that replace one version by another.
      const bool is_of_all_versions =
          request.head.type == MessageType::kHello || request.head.type == MessageType::kUpgrade;
      if (request.head.version == kProtocolVersion || is_of_all_versions) {
        handle(index, request, received);
      } else {
        answer(index, request, EPROTO, "this launcher speaks another version");
      }
      received.close_rest();
      if (clients_[index].fd < 0) return;
      continue;
    }
    received.close_rest();
    return drop_client(index);  // end-of-file, an error, or not our protocol
  }
}

void Launcher::handle(uint32_t index, Request& request, node::Received& received) {
  switch (request.head.type) {
    case MessageType::kLaunch:
      return launch(index, request, received);
    case MessageType::kAdopt:
      return adopt(index, request, received);
    case MessageType::kAssign:
      return assign(index, request, received);
    case MessageType::kGiveTerminal:
      return give_terminal(index, request, received);
    case MessageType::kHello:
      return hello(index, request);
    case MessageType::kUpgrade:
      return upgrade(index, request, received);
    case MessageType::kForget:
      return forget(index, request);
    case MessageType::kOpenStdin:
      return open_stdin(index, request);
    case MessageType::kCloseStdin:
      return close_stdin(index, request);
    case MessageType::kShutdown:
      return shut_down(index, request);
    default:
      return answer(index, request, EPROTO, "a request this launcher does not know");
  }
}

void Launcher::hello(uint32_t index, const Request& request) {
  Answer reply;
  reply.head.type = MessageType::kDone;
  reply.head.request = request.head.request;
  reply.ops = static_cast<uint32_t>(OpKind::kCount);
  reply.pid = getpid();
  strncpy(reply.text, options_.build, sizeof reply.text - 1);
  const int fd = table_.read_only_fd();
  send_answer(index, reply, &fd, 1);
}

void Launcher::forget(uint32_t index, const Request& request) {
  const uint32_t slot = table_.find(request.key);
  if (slot == kNoSlot) return answer(index, request, 0);
  const SlotState state = load(table_.slot(slot));
  if (state != SlotState::kExited && state != SlotState::kLost) {
    return answer(index, request, EBUSY, "it still runs");
  }
  close_kept(slot);
  const bool known_to_logger = (table_.slot(slot).io & (kIoStdout | kIoStderr)) != 0;
  table_.release(slot);
  answer(index, request, 0);
  if (known_to_logger) tell_logger(slot, kPendingRemove);
}

void Launcher::open_stdin(uint32_t index, const Request& request) {
  const uint32_t slot = table_.find(request.key);
  if (slot == kNoSlot || table_.kept(slot).in < 0) {
    return answer(index, request, ENOENT, "no stdin is kept");
  }
  Answer reply;
  reply.head.type = MessageType::kDone;
  reply.head.request = request.head.request;
  send_answer(index, reply, &table_.kept(slot).in, 1);
}

void Launcher::close_stdin(uint32_t index, const Request& request) {
  const uint32_t slot = table_.find(request.key);
  if (slot != kNoSlot && table_.kept(slot).in >= 0) {
    close(table_.kept(slot).in);
    table_.kept(slot).in = -1;
    tell_logger(slot, kPendingDropStdin);
  }
  answer(index, request, 0);
}

void Launcher::shut_down(uint32_t index, const Request& request) {
  if (table_.running() > 0) return answer(index, request, EBUSY, "containers run");
  answer(index, request, 0);
  if (logger_ >= 0) {
    Request stop;
    stop.head.type = MessageType::kStop;
    node::send(logger_, &stop, sizeof stop, nullptr, 0);
  }
  stopping_ = true;
}

void Launcher::answer(uint32_t index, const Request& request, int error, const char* text) {
  Answer reply;
  reply.head.type = MessageType::kDone;
  reply.head.request = request.head.request;
  reply.error = error;
  if (text != nullptr) strncpy(reply.text, text, sizeof reply.text - 1);
  send_answer(index, reply, nullptr, 0);
}

void Launcher::send_answer(uint32_t index, const Answer& reply, const int* fds, int fd_count) {
  // An executor has 64 requests in flight at most (AskChannel); one whose socket is full has
  // stopped reading and would wait for this answer for ever.
  if (node::send(clients_[index].fd, &reply, sizeof reply, fds, fd_count) != 0) drop_client(index);
}

// Half of the socket's buffer is the answers': one that does not fit costs the client.
// KERNEL: SIOCOUTQ of a unix socket is what of its buffer is taken; EPOLLOUT comes at a quarter.
bool Launcher::has_room(int fd) {
  int taken = 0, buffer = 0;
  socklen_t size = sizeof buffer;
  return ioctl(fd, SIOCOUTQ, &taken) != 0 ||
         getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &size) != 0 || taken < buffer / 2;
}

void Launcher::push_exit(uint32_t slot) {
  for (uint32_t i = 0; i < kMaxClients; ++i) {
    Client& client = clients_[i];
    if (client.fd < 0 || (slot == kNoSlot && !client.missed_exits)) continue;
    Answer message;
    message.head.type =
        client.missed_exits || slot == kNoSlot ? MessageType::kRescan : MessageType::kExited;
    message.slot = slot;
    const bool was_missing = client.missed_exits;
    client.missed_exits = !has_room(client.fd) ||
                          node::send(client.fd, &message, sizeof message, nullptr, 0) == -EAGAIN;
    if (was_missing != client.missed_exits) {
      watch(client.fd, kClient, i,
            EPOLLIN | EPOLLET | (client.missed_exits ? static_cast<uint32_t>(EPOLLOUT) : 0u));
    }
  }
}
}  // namespace gantry::launcher
