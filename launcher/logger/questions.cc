// What executors ask: flush, and tell me when there is more.
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/logger/logger.h"

namespace gantry::logger {
void Logger::answer_flush(uint32_t client, const Request& request) {
  uint32_t slot = find(request.key);
  if (slot == kNoSlot) {
    read_launcher();  // the launcher's word of it may still be in the socket
    slot = find(request.key);
  }
  if (slot == kNoSlot) return send_error(client, request.head.request, ENOENT);
  Entry& entry = tables_->entries[slot];
  bool is_changed = false;
  for (int i = 0; i < 2; ++i) {
    int waiting = 0;
    if (entry.streams[i].pipe >= 0) ioctl(entry.streams[i].pipe, FIONREAD, &waiting);
    // KERNEL: what a terminal has is known only when it is read; its buffers are smaller than this.
    if (entry.is_terminal) waiting = kTurnBytes;
    // One byte more than is there: that try sees whether the end follows.
    is_changed |= drain(slot, i, static_cast<size_t>(waiting) + 1);
    learn_size(entry, i);
  }
  send_sizes(client, request.head.request, entry);
  if (is_changed) changed(slot);
}

void Logger::answer_watch(uint32_t client, const Request& request) {
  uint32_t slot = find(request.key);
  if (slot == kNoSlot) {
    read_launcher();
    slot = find(request.key);
  }
  if (slot == kNoSlot) return send_error(client, request.head.request, ENOENT);
  Entry& entry = tables_->entries[slot];
  bool is_news = entry.streams[0].pipe < 0 && entry.streams[1].pipe < 0;
  for (int i = 0; i < 2; ++i) {
    learn_size(entry, i);
    const bool had_ended = (request.flags & (1u << i)) != 0;
    is_news |= entry.streams[i].size != request.sizes[i];
    is_news |= !had_ended && entry.streams[i].pipe < 0;
  }
  if (is_news) return send_sizes(client, request.head.request, entry);
  for (uint32_t i = 0; i < kMaxWatches; ++i) {
    Watch& watch = tables_->watches[i];
    if (watch.client != 0) continue;
    watch = {client + 1, entry.watches, request.head.request};
    entry.watches = i + 1;
    return;
  }
  send_error(client, request.head.request, EBUSY);
}

// Something came or ended: everybody who waits for this entry is told once.
void Logger::changed(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  uint32_t link = entry.watches;
  entry.watches = 0;
  while (link != 0) {
    Watch& watch = tables_->watches[link - 1];
    const Watch told = watch;
    watch = Watch();
    link = told.next;
    send_sizes(told.client - 1, told.request, entry);
  }
}

void Logger::drop_watches_of(uint32_t client) {
  for (uint32_t i = 0; i < high_water_; ++i) {
    uint32_t* link = &tables_->entries[i].watches;
    while (*link != 0) {
      Watch& watch = tables_->watches[*link - 1];
      if (watch.client == client + 1) {
        *link = watch.next;
        watch = Watch();
      } else {
        link = &watch.next;
      }
    }
  }
}

void Logger::send_sizes(uint32_t client, uint64_t request, const Entry& entry) {
  Answer answer;
  answer.head.type = MessageType::kSizes;
  answer.head.request = request;
  for (int i = 0; i < 2; ++i) {
    answer.sizes[i] = entry.streams[i].size;
    if (entry.streams[i].pipe < 0) answer.flags |= 1u << i;
    if (entry.streams[i].is_stalled) answer.flags |= kHasNoRoom;
  }
  if (node::send(clients_[client], &answer, sizeof answer, nullptr, 0) == -EAGAIN) {
    // It does not read its answers. Its end-of-file comes through the loop: nobody is dropped from
    // inside a walk of watches.
    shutdown(clients_[client], SHUT_RDWR);
  }
}

namespace {
void send_stalled(int client, const Entry& entry, int error) {
  Answer message;
  message.head.type = MessageType::kStalled;
  message.error = error;
  static_assert(sizeof message.text >= sizeof entry.key);
  memcpy(message.text, entry.key, sizeof entry.key);
  node::send(client, &message, sizeof message, nullptr, 0);
}
}  // namespace

void Logger::tell_stalled(const Entry& entry, int error) {
  for (int client : clients_) {
    if (client >= 0) send_stalled(client, entry, error);
  }
}

void Logger::tell_stalls(int client) {
  for (uint32_t i = 0; stalled_ > 0 && i < high_water_; ++i) {
    const Entry& entry = tables_->entries[i];
    if (!entry.is_used) continue;
    for (const Stream& stream : entry.streams) {
      if (stream.is_told) send_stalled(client, entry, stream.stall_error);
    }
  }
}

void Logger::send_error(uint32_t client, uint64_t request, int error) {
  Answer answer;
  answer.head.type = MessageType::kSizes;
  answer.head.request = request;
  answer.error = error;
  node::send(clients_[client], &answer, sizeof answer, nullptr, 0);
}
}  // namespace gantry::logger
