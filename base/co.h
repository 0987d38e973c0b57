// Coroutines over one Asio loop (docs/adr/0002). All state lives on the loop's thread; a coroutine
// gives way only at co_await. `Co<Result<T>>` is the shape of every operation that waits.
//
// The only public header that names Asio.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"

namespace gantry {
namespace asio = boost::asio;

template <class T>
using Co = asio::awaitable<T>;

using Duration = std::chrono::steady_clock::duration;

// The pool of four threads for bounded local work (fsync, cgroup writes that can wait). Work that
// may block on a tenant's, network or FUSE file system goes to a gantry-worker process instead.
class OffloadPool final : public asio::execution_context::service {
 public:
  using key_type = OffloadPool;
  static asio::execution_context::id id;
  // With fewer threads where no more can be made.
  explicit OffloadPool(asio::execution_context& context);
  void shutdown() noexcept override;
  asio::io_context& pool() { return pool_; }

 private:
  // Not an asio::thread_pool: its constructor waits for ever when one of the threads cannot be
  // made.
  asio::io_context pool_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

// Runs `work` on the pool and resumes on the loop with what it returned. Never cancelled: `work` is
// bounded. `work` must not touch loop state.
template <class Work>
Co<std::invoke_result_t<Work>> offload(Work work) {
  using Value = std::invoke_result_t<Work>;
  auto home = co_await asio::this_coro::executor;
  auto& pool = asio::use_service<OffloadPool>(asio::query(home, asio::execution::context)).pool();
  auto slot = std::make_shared<std::optional<Value>>();
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      [&](auto handler) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        asio::post(pool, [work = std::move(work), slot, home, shared]() mutable {
          slot->emplace(work());
          asio::post(home, [shared]() mutable { (*shared)(); });
        });
      },
      asio::use_awaitable);
  co_return std::move(**slot);
}

// A one-shot or repeated wake-up among coroutines of one loop: a condition variable without a lock.
class Event {
 public:
  explicit Event(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { GANTRY_CHECK(waiters_.empty()); }
  // Wakes every coroutine that waits now.
  void notify();
  // Waits for the next notify(). False when `limit` passed or the waiter was cancelled.
  Co<bool> wait(std::optional<Duration> limit = std::nullopt);

 private:
  struct Waiter;
  asio::any_io_executor executor_;
  std::vector<Waiter*> waiters_;
};

// True once the owner of this chain of coroutines has cancelled it (Scope::close). A cancelled
// chain is woken once from the wait it is in; its loops ask here whether to go on.
Co<bool> is_cancelled();

Co<void> sleep_for(Duration d);
// Waits until fd is readable (POLLIN) or, with Urgent, has a priority event (POLLPRI); the caller
// keeps ownership. Errc::timed_out after `limit`, Errc::cancelled when the coroutine is cancelled.
enum class Readiness { read, write, urgent };
Co<Result<void>> wait_fd(int fd, Readiness readiness, std::optional<Duration> limit = std::nullopt);

// Waits that must end even when the caller was cancelled (undo, destroy): a coroutine chain of its
// own, so that the caller's cancellation state does not reach it.
template <class T>
Co<T> uncancellable(Co<T> task) {
  auto slot = std::make_shared<std::optional<T>>();
  auto done = std::make_shared<Event>(co_await asio::this_coro::executor);
  asio::co_spawn(
      co_await asio::this_coro::executor,
      [](Co<T> inner, std::shared_ptr<std::optional<T>> out,
         std::shared_ptr<Event> finished) -> Co<void> {
        out->emplace(co_await std::move(inner));
        finished->notify();
      }(std::move(task), slot, done),
      [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
      });
  // A cancellation of the caller only wakes this wait early.
  while (!slot->has_value()) co_await done->wait();
  co_return std::move(**slot);
}
}  // namespace gantry
