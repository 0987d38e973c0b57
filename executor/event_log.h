// EventLog: the last things that happened on this host, and whoever follows them.
//
// Role: a ring of kMost entries that all followers read from at their own place, so that none costs
// memory and none is waited for: who falls behind the ring is cut off. Threads: loop only. It ends
// with the process: the next executor begins with an empty one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/co.h"
#include "containerizer/container_event.h"
#include "executor/operator_backend.h"

namespace gantry {
class EventLog {
 public:
  static constexpr size_t kMost = 2048;
  static constexpr size_t kMostText = 256;  // of each attribute

  explicit EventLog(asio::any_io_executor executor) : changed_(std::move(executor)) {}

  // Its time is now, and later than that of the one before.
  void add(HostEvent event);
  std::unique_ptr<EventStream> follow(EventOptions options);
  size_t followers() const { return followers_; }
  // Followers end; `last`: and there is nothing to come back to.
  enum class Last { no, yes };
  void close(Last last);

 private:
  class Follower;
  uint64_t begin() const { return end_ - events_.size(); }

  std::deque<HostEvent> events_;
  uint64_t end_ = 0;  // how many there ever were
  int64_t last_time_ns_ = 0;
  size_t followers_ = 0;
  std::optional<Last> closed_;
  Event changed_;
};

// Who writes down there what happens to containers.
ContainerObserver observe_containers(EventLog& log);
}  // namespace gantry
