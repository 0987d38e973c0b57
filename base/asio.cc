// The one definition of Asio's non-template code, and base/co.h's own.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/redirect_error.hpp>

#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "base/co.h"

namespace gantry {
asio::execution_context::id OffloadPool::id;

OffloadPool::OffloadPool(asio::execution_context& context)
    : asio::execution_context::service(context), work_(pool_.get_executor()) {
  for (int i = 0; i < 4; ++i) {
    try {
      threads_.emplace_back([this] { pool_.run(); });
    } catch (const std::system_error&) {
    }
  }
  if (!threads_.empty()) return;
  std::fputs(
      "gantry: not one thread can be made: the pids limit of its cgroup (pids.max), or `ulimit "
      "-u`, "
      "is reached\n",
      stderr);
  std::_Exit(1);
}

void OffloadPool::shutdown() noexcept {
  work_.reset();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

struct Event::Waiter {
  asio::steady_timer timer;
  bool notified = false;
};

void Event::notify() {
  for (Waiter* waiter : std::exchange(waiters_, {})) {
    waiter->notified = true;
    waiter->timer.cancel();
  }
}

Co<bool> Event::wait(std::optional<Duration> limit) {
  Waiter waiter{limit ? asio::steady_timer(executor_, *limit)
                      : asio::steady_timer(executor_, asio::steady_timer::time_point::max())};
  waiters_.push_back(&waiter);
  boost::system::error_code ignored;
  co_await waiter.timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (!waiter.notified) std::erase(waiters_, &waiter);
  co_return waiter.notified;
}

Co<bool> is_cancelled() {
  auto state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() != asio::cancellation_type::none;
}

Co<void> sleep_for(Duration d) {
  asio::steady_timer timer(co_await asio::this_coro::executor, d);
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

namespace {
asio::posix::descriptor_base::wait_type wait_type(Readiness readiness) {
  switch (readiness) {
    case Readiness::read:
      return asio::posix::descriptor_base::wait_read;
    case Readiness::write:
      return asio::posix::descriptor_base::wait_write;
    case Readiness::urgent:
      break;
  }
  return asio::posix::descriptor_base::wait_error;  // Asio maps it to EPOLLPRI
}

struct WaitState {
  explicit WaitState(const asio::any_io_executor& executor)
      : descriptor(executor), deadline(executor) {}
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer deadline;
  bool expired = false;
};
}  // namespace

Co<Result<void>> wait_fd(int fd, Readiness readiness, std::optional<Duration> limit) {
  auto state = std::make_shared<WaitState>(co_await asio::this_coro::executor);
  boost::system::error_code code;
  state->descriptor.assign(fd, code);
  if (code) co_return Error({code.value(), std::system_category()}, "watch a descriptor");
  if (limit) {
    state->deadline.expires_after(*limit);
    state->deadline.async_wait([state](boost::system::error_code e) {
      if (e) return;
      state->expired = true;
      boost::system::error_code ignored;
      state->descriptor.cancel(ignored);
    });
  }
  co_await state->descriptor.async_wait(wait_type(readiness),
                                        asio::redirect_error(asio::use_awaitable, code));
  state->deadline.cancel();
  state->descriptor.release();
  if (state->expired) co_return Error(Errc::timed_out, "waited too long for a descriptor");
  if (code == asio::error::operation_aborted) co_return Error(Errc::cancelled, "cancelled");
  if (code) co_return Error({code.value(), std::system_category()}, "wait for a descriptor");
  co_return Result<void>();
}
}  // namespace gantry
