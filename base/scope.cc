#include "base/scope.h"

namespace gantry {
namespace {
// Asio's rule: by default every co_await after a cancellation throws. Our chains look
// at is_cancelled() instead.
Co<void> without_throwing(Co<void> child) {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await std::move(child);
}
}  // namespace

Scope::Scope(asio::any_io_executor executor) : executor_(std::move(executor)), idle_(executor_) {}

Scope::~Scope() { GANTRY_CHECK(children_.empty()); }

uint64_t Scope::spawn(Co<void> child) {
  uint64_t id = next_++;
  if (closed_) return id;
  auto& signal = children_[id];
  signal = std::make_unique<asio::cancellation_signal>();
  asio::co_spawn(executor_, without_throwing(std::move(child)),
                 asio::bind_cancellation_slot(signal->slot(), [this, id](std::exception_ptr e) {
                   if (e) std::rethrow_exception(e);
                   children_.erase(id);
                   if (children_.empty()) idle_.notify();
                 }));
  return id;
}

void Scope::cancel(uint64_t child) {
  auto it = children_.find(child);
  if (it != children_.end()) it->second->emit(asio::cancellation_type::terminal);
}

Co<void> Scope::close() {
  closed_ = true;
  // A child may end while another is being cancelled: look each up anew.
  for (uint64_t id = 0; id < next_; ++id) {
    auto it = children_.find(id);
    if (it != children_.end()) it->second->emit(asio::cancellation_type::terminal);
  }
  co_await join();
}

Co<void> Scope::join() {
  while (!children_.empty()) co_await idle_.wait();
}
}  // namespace gantry
