#include "base/co.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "base/scope.h"
#include "base/sys.h"

namespace gantry {
namespace {
using namespace std::chrono_literals;

// Runs a test's coroutine on a loop of its own; an escaped exception fails the test.
template <class F>
void run(F body) {
  asio::io_context loop(1);
  bool finished = false;
  asio::co_spawn(loop, body(), [&](std::exception_ptr e) {
    EXPECT_EQ(e, nullptr);
    finished = true;
  });
  loop.run();
  EXPECT_TRUE(finished);
}

Co<void> offload_body() {
  auto loop_thread = std::this_thread::get_id();
  auto worker = co_await offload([] { return std::this_thread::get_id(); });
  EXPECT_NE(worker, loop_thread);
  EXPECT_EQ(std::this_thread::get_id(), loop_thread);
  Result<int> r = co_await offload([]() -> Result<int> { return Error(Errc::busy, "no"); });
  EXPECT_FALSE(r);
}
TEST(Offload, RunsElsewhereAndResumesOnTheLoop) { run(offload_body); }

Co<void> event_body() {
  auto executor = co_await asio::this_coro::executor;
  Event event(executor);
  EXPECT_FALSE(co_await event.wait(1ms));
  asio::post(executor, [&] { event.notify(); });
  EXPECT_TRUE(co_await event.wait(10s));
}
TEST(Event, WaitEndsByNotifyOrLimit) { run(event_body); }

Co<void> waiter(Event& event, int& woken, bool& cancelled) {
  if (co_await event.wait()) ++woken;
  cancelled = co_await is_cancelled();
}
Co<void> scope_body() {
  auto executor = co_await asio::this_coro::executor;
  Event event(executor);
  Scope scope(executor);
  int woken = 0;
  bool first = false, second = false;
  scope.spawn(waiter(event, woken, first));
  scope.spawn(waiter(event, woken, second));
  co_await sleep_for(1ms);
  EXPECT_EQ(scope.size(), 2u);
  co_await scope.close();
  EXPECT_EQ(scope.size(), 0u);
  EXPECT_EQ(woken, 0);
  EXPECT_TRUE(first && second);
}
TEST(Scope, CloseCancelsAndJoinsEveryChild) { run(scope_body); }

Co<bool> slow_undo(bool& done) {
  co_await sleep_for(20ms);
  done = true;
  co_return true;
}
Co<void> with_undo(bool& done) { co_await uncancellable(slow_undo(done)); }
Co<void> uncancellable_body() {
  Scope scope(co_await asio::this_coro::executor);
  bool done = false;
  scope.spawn(with_undo(done));
  co_await sleep_for(1ms);
  co_await scope.close();
  EXPECT_TRUE(done);
}
TEST(Uncancellable, RunsToItsEndUnderACancelledCaller) { run(uncancellable_body); }

Co<void> wait_fd_body() {
  auto pipe = sys::pipe();
  EXPECT_TRUE(pipe);
  auto early = co_await wait_fd(pipe->read.get(), Readiness::read, 5ms);
  EXPECT_FALSE(early);
  EXPECT_TRUE(early.error().is(Errc::timed_out));
  EXPECT_EQ(::write(pipe->write.get(), "x", 1), 1);
  EXPECT_TRUE(co_await wait_fd(pipe->read.get(), Readiness::read, 1s));
  char c;
  EXPECT_EQ(::read(pipe->read.get(), &c, 1), 1);  // the descriptor is still ours
}
TEST(WaitFd, TimesOutAndSeesReadiness) { run(wait_fd_body); }

Co<Result<int>> failing() { co_return Error(Errc::not_found, "no such thing"); }
Co<Result<int>> through() {
  int v = GANTRY_CO_TRY((co_await failing()).context("asked"));
  co_return v;
}
Co<void> try_body() {
  auto r = co_await through();
  EXPECT_FALSE(r);
  EXPECT_EQ(r.error().to_string(), "asked: no such thing");
}
TEST(CoTry, ReturnsTheErrorFromTheCoroutine) { run(try_body); }
}  // namespace
}  // namespace gantry
