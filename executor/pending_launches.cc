#include "executor/pending_launches.h"

namespace gantry {
Co<std::optional<PendingLaunches::Place>> PendingLaunches::take(std::string name) {
  Client& client = all_[name];
  if (client.under_way < kMostEach) {
    ++client.under_way;
    co_return Place(*this, std::move(name));
  }
  Waiting waiting(co_await asio::this_coro::executor);
  client.queue.push_back(&waiting);
  while (!waiting.is_next) {
    co_await waiting.changed.wait();
    if (waiting.is_next || !co_await is_cancelled()) continue;
    std::erase(client.queue, &waiting);
    co_return std::nullopt;
  }
  co_return Place(*this, std::move(name));
}

// The place goes to who waits longest.
void PendingLaunches::leave(const std::string& name) {
  Client& client = all_[name];
  if (!client.queue.empty()) {
    client.queue.front()->is_next = true;
    client.queue.front()->changed.notify();
    client.queue.pop_front();
  } else if (--client.under_way == 0) {
    all_.erase(name);
  }
}
}  // namespace gantry
