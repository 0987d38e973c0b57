// Scope: the coroutines an object has started. Nothing is detached: close() cancels and joins.
//
// Threads: loop only. The owner must close() (or have no live children) before the Scope goes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/co.h"

namespace gantry {
class Scope {
 public:
  explicit Scope(asio::any_io_executor executor);
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();  // CHECKs that no child is left

  // Starts a child. An exception out of it is a bug and aborts. Refused (dropped) after close().
  // The number it returns is for cancel().
  uint64_t spawn(Co<void> child);
  // Cancels one child (terminal); nothing when it has ended.
  void cancel(uint64_t child);
  // Cancels every child (terminal) and waits for all of them.
  Co<void> close();
  // After close(): children may be spawned again.
  void reopen() { closed_ = false; }
  // Waits for the children without cancelling them.
  Co<void> join();
  size_t size() const { return children_.size(); }
  const asio::any_io_executor& executor() const { return executor_; }

 private:
  asio::any_io_executor executor_;
  std::map<uint64_t, std::unique_ptr<asio::cancellation_signal>> children_;
  uint64_t next_ = 0;
  bool closed_ = false;
  Event idle_;
};
}  // namespace gantry
