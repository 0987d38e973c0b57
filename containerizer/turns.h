// Turns: how many may do something at the same time; the others wait. Threads: loop only. It
// outlives its turns.
#pragma once

#include <cstddef>
#include <utility>

#include "base/co.h"

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
  Co<Turn> take() {
    while (taken_ >= most_) co_await given_back_.wait();
    ++taken_;
    co_return Turn(*this);
  }

 private:
  Event given_back_;
  size_t most_;
  size_t taken_ = 0;
};
}  // namespace gantry
