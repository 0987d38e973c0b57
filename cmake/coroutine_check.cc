// The coroutine forms Gantry's code uses, each with an owner whose opens and closes are counted.
// g++ 12.2 destroys temporaries inside a co_await expression once too often and crashes on
// co_return inside a statement expression; a compiler that fails here would close foreign fds.
#include <coroutine>
#include <cstdio>
#include <exception>
#include <optional>
#include <utility>

namespace {
int opened = 0;
int closed = 0;

struct Owner {
  bool live;
  Owner() : live(true) { ++opened; }
  Owner(Owner&& other) noexcept : live(std::exchange(other.live, false)) {}
  Owner& operator=(Owner&&) = delete;
  ~Owner() {
    if (live) ++closed;
  }
};
struct Aggregate {
  Owner owner;
  int value = 0;
};

struct Task {
  struct promise_type {
    std::optional<int> value;
    Task get_return_object() {
      return Task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_value(int v) { value = v; }
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
  explicit Task(std::coroutine_handle<promise_type> h) : handle(h) {}
  Task(Task&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle) handle.destroy();
  }
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) noexcept {}
  int await_resume() { return *handle.promise().value; }
};

Task take(Aggregate a) { co_return a.value; }
template <class F>
Task call(F f) {
  co_return f();
}
Task aggregate_temporary() { co_return co_await take(Aggregate{Owner{}, 7}); }
Task capturing_lambda_temporary() {
  Owner owner;
  co_return co_await call([o = std::move(owner)] { return o.live ? 7 : 0; });
}
Task return_in_statement_expression(bool fail) {
  Owner owner;
  int v = ({
    auto r = co_await take(Aggregate{Owner{}, 7});
    if (fail) co_return 1;
    r;
  });
  co_return v;
}

bool check(const char* form, Task task, int want) {
  int got = *task.handle.promise().value;
  {
    Task dropped = std::move(task);
  }
  if (got == want && opened == closed) return true;
  std::printf("form '%s': value %d (want %d), %d opened, %d closed\n", form, got, want, opened,
              closed);
  return false;
}
}  // namespace

int main() {
  bool ok = check("aggregate temporary in co_await", aggregate_temporary(), 7);
  ok = check("capturing lambda in co_await", capturing_lambda_temporary(), 7) && ok;
  ok = check("co_return in a statement expression", return_in_statement_expression(true), 1) && ok;
  ok = check("value of a statement expression", return_in_statement_expression(false), 7) && ok;
  return ok ? 0 : 1;
}
