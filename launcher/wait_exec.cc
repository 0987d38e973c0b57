#include <unistd.h>

#include "base/sys.h"
#include "launcher/launch_backend.h"

namespace gantry {
namespace {
const char* substep_name(uint32_t aux) {
  switch (static_cast<Substep>(aux & 0xff)) {
    case Substep::kCreate:
      return " (creating it)";
    case Substep::kOption:
      return " (an option)";
    case Substep::kMount:
      return " (mounting it)";
    case Substep::kTarget:
      return " (the target in the container)";
    case Substep::kMake:
      return " (making the target)";
    case Substep::kAttach:
      return " (attaching it)";
    case Substep::kAttribute:
      return " (its attributes)";
    case Substep::kSource:
      return " (the source)";
    case Substep::kVerify:
      return " (it did not take effect)";
    case Substep::kWhole:
      break;
  }
  return "";
}
}  // namespace

Result<void> send_plan(int socket, LaunchPlan& plan) {
  std::vector<int> fds = {plan.memfd()};
  for (const UniqueFd& fd : plan.fds()) fds.push_back(fd.get());
  GANTRY_TRY(sys::send_message(socket, "p", fds).context("send the launch to its child"));
  plan.close_fds();
  return {};
}

Co<Result<void>> wait_exec(const LaunchPlan& plan, int report_pipe, Duration limit,
                           std::function<Co<Result<void>>(uint32_t)> on_barrier,
                           ChildReport* failed) {
  for (;;) {
    GANTRY_CO_TRY((co_await wait_fd(report_pipe, Readiness::read, limit))
                      .context("wait for the container's start"));
    ChildReport report;
    ssize_t n = ::read(report_pipe, &report, sizeof report);
    if (n == 0 && plan.ops().back().kind == OpKind::kNextPlan) {
      co_return Error(Errc::conflict, "it died before it could wait for its next plan");
    }
    if (n == 0) co_return Result<void>();
    if (n < 0 && errno == EAGAIN) continue;
    if (n < 0) co_return Error::from_errno(errno, "read how the container's start went");
    // KERNEL: writes of 16 bytes to a pipe are whole (PIPE_BUF).
    if (n != static_cast<ssize_t>(sizeof report)) {
      co_return Error(Errc::corrupt, "the container's start sent a broken report");
    }
    if (report.kind == static_cast<uint16_t>(OpKind::kNextPlan) && report.is_barrier != 0) {
      co_return Result<void>();
    }
    if (report.is_barrier != 0) {
      if (!on_barrier) co_return Error(Errc::corrupt, "a barrier nobody awaits");
      GANTRY_CO_TRY(co_await on_barrier(report.aux));
      continue;
    }
    if (failed != nullptr) *failed = report;
    co_return Error::from_errno(report.error,
                                cat(plan.describe(report.op_index), substep_name(report.aux)));
  }
}
}  // namespace gantry
