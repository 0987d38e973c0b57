#include "fetcher/trash.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>

#include "base/sys.h"

namespace gantry {
namespace {
// One worker serves what a burst of removals leaves; a launch right after is not disturbed by it.
constexpr auto kGather = std::chrono::milliseconds(500);
// How long close() waits for what is being removed; the rest is the next executor's.
constexpr auto kLastChance = std::chrono::seconds(10);
}  // namespace

Trash::Trash(asio::any_io_executor executor, WorkerClient& worker, std::string directory)
    : worker_(worker),
      directory_(std::move(directory)),
      wake_(executor),
      idle_(executor),
      scope_(executor) {}

Result<void> Trash::open() {
  fd_ = GANTRY_TRY(sys::open(directory_, O_PATH | O_DIRECTORY));
  return {};
}

Result<void> Trash::discard(int parent_fd, std::string_view name) {
  if (!fd_) return Error(Errc::not_found, cat("trash directory ", directory_, " is not there"));
  std::string from(name);
  std::string to = cat(sys::monotonic_ns(), ".", next_++);
  if (::renameat(parent_fd, from.c_str(), fd_.get(), to.c_str()) != 0) {
    if (errno == ENOENT) return {};
    if (errno == EBUSY) return Error(Errc::busy, cat(name, " is or holds a mount point"));
    return Error::from_errno(errno, cat("move ", name, " to the trash"));
  }
  schedule();
  return {};
}

void Trash::schedule() {
  wanted_ = true;
  if (running_) return;
  running_ = true;
  scope_.spawn(empty());
}

Co<void> Trash::empty() {
  while (wanted_) {
    co_await wake_.wait(kGather);
    if (co_await is_cancelled()) break;
    wanted_ = false;
    WorkerRequest request;
    request.job = "empty";
    auto fd = sys::open(directory_, O_PATH | O_DIRECTORY);
    if (!fd) break;
    request.fds.push_back(std::move(*fd));
    request.limit = std::chrono::hours(1);
    auto done = co_await worker_.run(std::move(request));
    // What could not be removed now is tried again at the next discard or start.
    if (!done) break;
  }
  running_ = false;
  idle_.notify();
}

Co<void> Trash::drain() {
  while (running_) {
    wake_.notify();
    if (!co_await idle_.wait(std::chrono::milliseconds(200)) && co_await is_cancelled()) break;
  }
}

Co<void> Trash::close() {
  auto deadline = std::chrono::steady_clock::now() + kLastChance;
  while (running_ && std::chrono::steady_clock::now() < deadline) {
    wake_.notify();
    co_await idle_.wait(std::chrono::milliseconds(200));
  }
  co_await scope_.close();
}
}  // namespace gantry
