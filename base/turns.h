// Turns: how many may do something at the same time; the others wait. One: a lock. Threads: loop
// only. It outlives its turns.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "base/co.h"
#include "base/result.h"

namespace gantry {
class Turns {
 public:
  // One of them, given back by its destructor.
  class Turn {
   public:
    explicit Turn(Turns& of) : of_(&of) {}
    Turn(Turn&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (of_ == nullptr) return;
      --of_->taken_;
      of_->given_back_.notify();
    }

   private:
    Turns* of_;
  };

  Turns(asio::any_io_executor executor, size_t most)
      : given_back_(std::move(executor)), most_(most) {}

  // Errc::timed_out when none was given back within `limit`, Errc::cancelled when the coroutine
  // was.
  Co<Result<Turn>> take(std::optional<Duration> limit = std::nullopt) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    while (taken_ >= most_) {
      const auto left = limit ? std::optional<Duration>(start + *limit - Clock::now()) : limit;
      if (left && *left <= left->zero()) co_return Error(Errc::timed_out, "all turns are taken");
      co_await given_back_.wait(left);
      if (taken_ >= most_ && co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
    }
    ++taken_;
    co_return Turn(*this);
  }

 private:
  Event given_back_;
  size_t most_;
  size_t taken_ = 0;
};
}  // namespace gantry
