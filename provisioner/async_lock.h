// One coroutine at a time, in a section that waits. Loop only.
#pragma once

#include "base/co.h"

namespace gantry {
class AsyncLock {
 public:
  explicit AsyncLock(asio::any_io_executor executor) : free_(std::move(executor)) {}

  class Guard {
   public:
    explicit Guard(AsyncLock& lock) : lock_(&lock) {}
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (lock_ == nullptr) return;
      lock_->held_ = false;
      lock_->free_.notify();
    }

   private:
    AsyncLock* lock_;
  };
  Co<Result<Guard>> acquire() {
    while (held_) {
      co_await free_.wait();
      if (held_ && co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
    }
    held_ = true;
    co_return Guard(*this);
  }

 private:
  Event free_;
  bool held_ = false;
};
}  // namespace gantry
