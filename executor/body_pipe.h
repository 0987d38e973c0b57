// The body of a request into a pipe, and whoever reads it beside.
#pragma once

#include <functional>
#include <optional>

#include "base/co.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/sys.h"
#include "executor/http/exchange.h"

namespace gantry {
// What a coroutine gives that runs beside, in a Scope that ends before this.
template <class T>
struct Beside {
  explicit Beside(const asio::any_io_executor& executor) : done(executor) {}
  std::optional<Result<T>> result;
  Event done;
};
template <class T>
Co<void> run_beside(Co<Result<T>> work, Beside<T>& out) {
  out.result = co_await std::move(work);
  out.done.notify();
}

// Large, as few turns need; the caller's end does not block.
enum class OwnEnd { read, write };
Result<sys::Pipe> open_transfer_pipe(OwnEnd own_end);

// Until the body's end, or until the reader has closed its side: that one says why. `pipe` is
// closed on return.
Co<Result<void>> pump_body(http::BodyStream& body, UniqueFd pipe);

// `read` gets the other end of the pipe. A body that breaks off cancels it: what it was making of
// half of it is nothing.
template <class T>
Co<Result<T>> feed_body(http::BodyStream& body, asio::any_io_executor executor,
                        std::function<Co<Result<T>>(UniqueFd)> read) {
  sys::Pipe pipe = GANTRY_CO_TRY(open_transfer_pipe(OwnEnd::write));
  Beside<T> reader(executor);
  Scope scope(executor);
  scope.spawn(run_beside(read(std::move(pipe.read)), reader));
  Result<void> pumped = co_await pump_body(body, std::move(pipe.write));
  if (!pumped) co_await scope.close();
  while (!reader.result) co_await reader.done.wait();
  co_await scope.join();
  GANTRY_CO_TRY(std::move(pumped));
  co_return std::move(*reader.result);
}
}  // namespace gantry
