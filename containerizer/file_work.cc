// Workers at a container's files, and its standing still meanwhile.
#include "containerizer/containerizer.h"

namespace gantry {
namespace {
constexpr auto kFreezeLimit = std::chrono::seconds(10);
// A killed worker that a dead file server holds up is left to itself.
constexpr auto kEndLimit = std::chrono::seconds(5);

struct Work {
  explicit Work(const asio::any_io_executor& executor) : done(executor) {}
  std::optional<Result<Fields>> result;
  bool is_ended = false;  // by the container's removal
  Event done;
};

Co<void> work_on(Co<Result<Fields>> job, std::shared_ptr<Work> work, ContainerPtr container,
                 uint64_t number) {
  work->result = co_await std::move(job);
  container->file_work.erase(number);
  container->changed.notify();
  work->done.notify();
}

Error removed(const Container& container) {
  return {Errc::not_found, cat("container '", container.id.to_string(), "' was removed meanwhile")};
}
}  // namespace

Co<Result<Fields>> Containerizer::run_on_files(ContainerPtr container, WorkerRequest request) {
  if (container->removing) co_return removed(*container);
  if (is_closing_) co_return Error(Errc::cancelled, "the executor ends");
  const auto work = std::make_shared<Work>(executor_);
  const uint64_t number = next_file_work_++;
  // ORDER: before it runs, as it may be over at once.
  const auto child = std::make_shared<uint64_t>(0);
  container->file_work[number] = [this, work, child] {
    work->is_ended = true;
    scope_.cancel(*child);
  };
  *child = scope_.spawn(work_on(parts_.worker.run(std::move(request)), work, container, number));
  for (bool is_given_up = false; !work->result;) {
    co_await work->done.wait();
    if (work->result || is_given_up || !co_await is_cancelled()) continue;
    is_given_up = true;
    scope_.cancel(*child);
  }
  if (work->is_ended) co_return removed(*container);
  co_return std::move(*work->result);
}

Co<void> Containerizer::end_file_work(ContainerPtr container) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, end] : container->file_work) numbers.push_back(number);
  for (const uint64_t number : numbers) {
    const auto work = container->file_work.find(number);
    if (work != container->file_work.end()) std::function(work->second)();
  }
  const auto deadline = std::chrono::steady_clock::now() + kEndLimit;
  while (!container->file_work.empty()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) co_return;
    co_await container->changed.wait(left);
  }
}

Co<Result<void>> Containerizer::hold_still(ContainerPtr container) {
  if (container->state() == ContainerState::running) {
    GANTRY_CO_TRY(
        co_await parts_.cgroups.pause(ContainerCgroups::name_of(container->id), kFreezeLimit));
  }
  // A health check stands still, too, and would have taken too long.
  ++container->checks_held;
  co_return Result<void>();
}

Co<Result<void>> Containerizer::let_go(ContainerPtr container) {
  if (--container->checks_held == 0) container->changed.notify();
  if (container->state() != ContainerState::running) co_return Result<void>();
  co_return co_await parts_.cgroups.resume(ContainerCgroups::name_of(container->id), kFreezeLimit);
}
}  // namespace gantry
