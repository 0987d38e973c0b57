// Subscription: the events one connected framework is still to be sent.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "api/types/scheduler.h"
#include "base/co.h"

namespace gantry {
class Subscription {
 public:
  Subscription(const asio::any_io_executor& executor, std::string framework_id,
               std::string stream_id)
      : framework_id(std::move(framework_id)),
        stream_id(std::move(stream_id)),
        changed_(executor) {}

  // A framework that does not read is closed at this many events: it subscribes again and gets
  // what matters once more.
  static constexpr size_t kMaxQueued = 20'000;

  const std::string framework_id, stream_id;

  void push(SchedulerEvent event) {
    if (closed_) return;
    if (queue_.size() >= kMaxQueued) {
      close();
      return;
    }
    queue_.push_back(std::move(event));
    changed_.notify();
  }
  // What is queued is still sent; then the stream ends.
  void close() {
    closed_ = true;
    changed_.notify();
  }
  // The next event; a heartbeat when none came for `limit`; nullopt at the end.
  Co<std::optional<SchedulerEvent>> next(Duration limit) {
    if (queue_.empty() && !closed_) co_await changed_.wait(limit);
    if (!queue_.empty()) {
      SchedulerEvent event = std::move(queue_.front());
      queue_.pop_front();
      co_return event;
    }
    if (closed_ || co_await is_cancelled()) co_return std::nullopt;
    co_return HeartbeatEvent{};
  }

 private:
  std::deque<SchedulerEvent> queue_;
  bool closed_ = false;
  Event changed_;
};
}  // namespace gantry
