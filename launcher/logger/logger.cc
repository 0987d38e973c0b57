#include "launcher/logger/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace gantry::logger {
const char* Logger::open(int launcher, int listening) {
  void* memory = mmap(nullptr, sizeof(Tables), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return "map the tables";
  tables_ = static_cast<Tables*>(memory);
  for (int& client : clients_) client = -1;
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return "make an epoll";
  if (pipe2(scratch_, O_CLOEXEC | O_NONBLOCK) != 0) return "make a pipe";
  launcher_ = launcher;
  listen_ = listening;
  watch_fd(launcher_, kLauncher, 0);
  watch_fd(listen_, kListen, 0);
  return nullptr;
}

void Logger::watch_fd(int fd, Source source, uint32_t index) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<uint64_t>(source) << 32 | index;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST) {
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }
}

int Logger::serve() {
  epoll_event events[64];
  for (;;) {
    const int count = epoll_wait(epoll_, events, 64, stalled_ > 0 ? 200 : -1);
    for (int i = 0; i < count; ++i) {
      dispatch(static_cast<uint32_t>(events[i].data.u64 >> 32),
               static_cast<uint32_t>(events[i].data.u64));
    }
    if (stalled_ > 0) retry_stalled();
    // Without a launcher there is nothing to do once every pipe is at its end: the next launcher
    // starts a logger of its own.
    if (stopping_ || (launcher_ < 0 && open_pipes_ == 0)) return 0;
  }
}

void Logger::dispatch(uint32_t source, uint32_t index) {
  switch (source) {
    case kListen:
      return accept_client();
    case kLauncher:
      return read_launcher();
    case kClient:
      return read_client(index);
    case kPipe:
      return drain_watched(index / 2, static_cast<int>(index % 2));
    default:
      return;
  }
}

// The two streams of a container end together mostly: whoever waits is told of both at once.
void Logger::drain_watched(uint32_t slot, int which) {
  const Stream* streams = tables_->entries[slot].streams;
  bool is_changed = drain(slot, which, kTurnBytes);
  const bool has_ended = is_changed && streams[which].pipe < 0;
  if (has_ended && !streams[1 - which].is_stalled) is_changed |= drain(slot, 1 - which, kTurnBytes);
  if (is_changed) changed(slot);
}

void Logger::accept_client() {
  int fd = accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (node::peer_uid(fd) == 0) {
    for (uint32_t i = 0; i < kMaxClients; ++i) {
      if (clients_[i] >= 0) continue;
      clients_[i] = fd;
      watch_fd(fd, kClient, i);
      return tell_stalls(fd);
    }
  }
  close(fd);
}

void Logger::drop_client(uint32_t index) {
  drop_watches_of(index);
  close(clients_[index]);
  clients_[index] = -1;
}

namespace {
bool is_request(const node::Received& received, Request& request) {
  if (received.bytes != static_cast<ssize_t>(sizeof request) ||
      request.head.magic != kProtocolMagic || request.head.version != kProtocolVersion) {
    return false;
  }
  request.key[sizeof request.key - 1] = '\0';
  request.log_directory[sizeof request.log_directory - 1] = '\0';
  return true;
}
}  // namespace

void Logger::read_client(uint32_t index) {
  if (clients_[index] < 0) return;
  Request request;
  node::Received received;
  node::receive(clients_[index], &request, sizeof request, &received);
  if (received.bytes == -EAGAIN) return;
  received.close_rest();
  if (!is_request(received, request)) return drop_client(index);
  switch (request.head.type) {
    case MessageType::kFlush:
      return answer_flush(index, request);
    case MessageType::kWatch:
      return answer_watch(index, request);
    case MessageType::kLauncherHello:
      return take_launcher(index);
    default:
      return send_error(index, request.head.request, EPROTO);
  }
}

// A new launcher: it gets everything its predecessor kept, and the listening socket.
void Logger::take_launcher(uint32_t client) {
  read_launcher();  // what the former one has said last may be all there is of a container's pipes
  if (launcher_ >= 0) close(launcher_);
  launcher_ = clients_[client];
  clients_[client] = -1;
  watch_fd(launcher_, kLauncher, 0);
  auto send = [&](const Request& message, const int* fds, int count) {
    // It reads nothing else meanwhile: a full socket empties within moments, or it is dead.
    while (node::send(launcher_, &message, sizeof message, fds, count) == -EAGAIN) {
      pollfd p = {launcher_, POLLOUT, 0};
      if (poll(&p, 1, 2000) <= 0) return;
    }
  };
  for (uint32_t i = 0; i < high_water_; ++i) {
    const Entry& entry = tables_->entries[i];
    if (!entry.is_used) continue;
    Request message;
    message.head.type = MessageType::kHeld;
    message.slot = i;
    memcpy(message.key, entry.key, sizeof message.key);
    int fds[3], count = 0;
    const int kept[] = {entry.streams[0].pipe, entry.streams[1].pipe, entry.in};
    for (uint32_t k = 0; k < 3; ++k) {
      if (kept[k] < 0) continue;
      fds[count++] = kept[k];
      message.flags |= 1u << k;
    }
    if (count > 0) send(message, fds, count);
  }
  Request end;
  end.head.type = MessageType::kHeldEnd;
  send(end, &listen_, 1);
}

void Logger::read_launcher() {
  while (launcher_ >= 0) {
    Request request;
    node::Received received;
    node::receive(launcher_, &request, sizeof request, &received);
    if (received.bytes == -EAGAIN) return;
    if (!is_request(received, request)) {
      received.close_rest();
      return launcher_lost();
    }
    switch (request.head.type) {
      case MessageType::kAdd:
        if (request.slot < kTableSlots) add(request, received);
        break;
      case MessageType::kDropStdin:
        if (request.slot < kTableSlots) drop_stdin(request.slot);
        break;
      case MessageType::kRemove:
        if (request.slot < kTableSlots) remove(request.slot);
        break;
      case MessageType::kStop:
        stopping_ = true;
        break;
      default:
        break;
    }
    received.close_rest();
  }
}

void Logger::launcher_lost() {
  close(launcher_);
  launcher_ = -1;
}

uint32_t Logger::find(const char* key) const {
  return tables_->by_key.find(node::hash_of(key), [&](uint32_t i) {
    return tables_->entries[i].is_used && strcmp(tables_->entries[i].key, key) == 0;
  });
}

void Logger::add(const Request& request, node::Received& received) {
  const uint32_t slot = request.slot;
  Entry& entry = tables_->entries[slot];
  if (entry.is_used && strcmp(entry.key, request.key) != 0) remove(slot);
  if (!entry.is_used) {
    entry = Entry();
    entry.is_used = true;
    memcpy(entry.key, request.key, sizeof entry.key);
    memcpy(entry.directory, request.log_directory, sizeof entry.directory);
    entry.max_bytes = request.sizes[0];
    entry.max_files = request.sizes[1] > 1 ? static_cast<uint32_t>(request.sizes[1]) : 1;
    tables_->by_key.insert(node::hash_of(entry.key), slot);
    if (slot >= high_water_) high_water_ = slot + 1;
  }
  entry.is_terminal = (request.flags & kIoTerminal) != 0;
  for (int i = 0, next = 0; i < 3; ++i) {
    if ((request.flags & (1u << i)) == 0 || next >= received.fd_count) continue;
    int& fd = received.fds[next++];
    if (i == 2) {
      if (entry.in >= 0) continue;
      entry.in = fd;
      fd = -1;
    } else if (!entry.streams[i].is_given) {
      start_stream(slot, i, fd);
      fd = -1;
    }
  }
}

void Logger::drop_stdin(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  if (entry.in >= 0) close(entry.in);
  entry.in = -1;
}

void Logger::remove(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  if (!entry.is_used) return;
  for (int i = 0; i < 2; ++i) {
    entry.streams[i].is_told = false;
    if (entry.streams[i].pipe >= 0) end_stream(slot, i);
    close_file(entry.streams[i]);
  }
  close_times(entry);
  if (entry.drained_unsent) --stalled_;
  entry.drained_unsent = false;
  if (entry.in >= 0) drop_stdin(slot);
  changed(slot);  // whoever waits hears that nothing more will come
  tables_->by_key.remove(node::hash_of(entry.key), slot);
  entry.is_used = false;
}
}  // namespace gantry::logger
