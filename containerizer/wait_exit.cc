#include "base/sys.h"
#include "containerizer/containerizer.h"

namespace gantry {
namespace {
constexpr auto kReapLimit = std::chrono::seconds(10);
}  // namespace

// Its launcher died, and the table with it or what the table said: the process goes on all the
// same.
Co<Result<ExitRecord>> Containerizer::wait_exit(ContainerPtr container) {
  Result<ExitRecord> exit = co_await parts_.backend.wait_exit(container->id.hash());
  if (exit || co_await is_cancelled()) co_return exit;
  if (!container->process || container->process->ended()) co_return exit;
  const int pidfd = container->process->pidfd();
  GANTRY_CO_TRY(co_await wait_fd(pidfd, Readiness::read));
  const auto deadline = std::chrono::steady_clock::now() + kReapLimit;
  Result<int> status = sys::pidfd_exit_status(pidfd);
  // KERNEL: not until its new parent has reaped it, and no event says when.
  while (!status && status.error().is(Errc::busy) && !co_await is_cancelled() &&
         std::chrono::steady_clock::now() < deadline) {
    co_await sleep_for(std::chrono::milliseconds(20));
    status = sys::pidfd_exit_status(pidfd);
  }
  if (!status) co_return exit;
  co_return ExitRecord{.wait_status = *status, .exit_time_ns = sys::realtime_ns()};
}
}  // namespace gantry
