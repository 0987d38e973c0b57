// The end of a container's output. The launcher and the logger know a container until its bytes are
// in the files: those that its disk takes only later are awaited, and keep nobody waiting.
#include "containerizer/containerizer.h"

namespace gantry {
namespace {
// For a logger that waits for a disk which stands still; else it takes less than a millisecond.
constexpr auto kFlushLimit = std::chrono::seconds(2);
constexpr auto kRetry = std::chrono::milliseconds(100);
}  // namespace

Co<void> Containerizer::flush_output(ContainerPtr container) {
  if (container->has_output_ended) {
    container->output = Container::Output::ended;
    co_return;
  }
  const Result<LogSizes> sizes = co_await parts_.logs.flush(container->id.hash(), kFlushLimit);
  if (!sizes) {
    container->output =
        sizes.error().is(Errc::timed_out) ? Container::Output::late : Container::Output::ended;
  } else if (sizes->has_no_room) {
    container->output = Container::Output::late;
  } else {
    container->output =
        sizes->out_ended && sizes->err_ended ? Container::Output::ended : Container::Output::open;
  }
}

Co<void> Containerizer::forget_process(ContainerPtr container) {
  // What was left in it has been killed since the first flush, and holds its output open no longer.
  if (container->output == Container::Output::open) co_await flush_output(container);
  if (container->output == Container::Output::open ||
      container->output == Container::Output::late) {
    container->is_undrained = true;
    scope_.spawn(forget_when_drained(container));
    co_return;
  }
  (co_await parts_.backend.forget(container->id.hash())).ignore("forgotten at the next recovery");
}

Co<void> Containerizer::forget_when_drained(ContainerPtr container) {
  LogSizes known;
  while (container->is_undrained && !(known.out_ended && known.err_ended)) {
    const Result<LogSizes> sizes = co_await parts_.logs.wait_growth(container->id.hash(), known);
    if (co_await is_cancelled()) co_return;
    if (!sizes && sizes.error().is(Errc::not_found)) break;
    if (sizes) known = *sizes;
    if (!sizes) co_await sleep_for(kRetry);
  }
  co_await forget_undrained(container);
}

Co<void> Containerizer::forget_undrained(ContainerPtr container) {
  container->output = Container::Output::ended;
  container->changed.notify();
  if (!std::exchange(container->is_undrained, false)) co_return;
  (co_await parts_.backend.forget(container->id.hash())).ignore("forgotten at the next recovery");
}
}  // namespace gantry
