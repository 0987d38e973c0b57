// The launcher alone: executor's loop, gantry-launcher, namespaces, root and mounts, `true`, exit
// record. No cgroups, no filter (compare with bench_kernel under KERNEL_WITHOUT=cgroups,filter).
//   bench_launcher [LAUNCHES]
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
constexpr const char* kPhases[] = {"plan",           "launch answered", "signal to exec",
                                   "to exit record", "forget",          "whole"};
constexpr size_t kCount = std::size(kPhases);

Co<Result<void>> measure(RemoteLauncher& launcher, int launches,
                         std::vector<std::vector<double>>& times) {
  for (int i = 0; i < launches; ++i) {
    int64_t at[kCount];
    at[0] = sys::monotonic_ns();
    PlanSetup setup = plain_plan({"true"});
    add_container(setup.builder, busybox_root());
    LaunchPlan plan = GANTRY_CO_TRY(std::move(setup.builder).seal());
    at[1] = sys::monotonic_ns();
    const std::string key = cat("bench-", i);
    LaunchedChild child = GANTRY_CO_TRY(co_await launcher.launch(key, plan, {}));
    at[2] = sys::monotonic_ns();
    GANTRY_CO_TRY(sys::write_all(setup.signal_write.get(), "!"));
    GANTRY_CO_TRY(co_await wait_exec(plan, child.report_pipe.get(), std::chrono::seconds(10)));
    at[3] = sys::monotonic_ns();
    ExitRecord exit = GANTRY_CO_TRY(co_await launcher.wait_exit(key));
    if (exit.wait_status != 0) co_return Error(Errc::invalid, "true failed");
    at[4] = sys::monotonic_ns();
    GANTRY_CO_TRY(co_await launcher.forget(key));
    at[5] = sys::monotonic_ns();
    for (size_t k = 0; k + 1 < kCount; ++k) {
      times[k].push_back(static_cast<double>(at[k + 1] - at[k]) / 1e3);
    }
    times[kCount - 1].push_back(static_cast<double>(at[5] - at[0]) / 1e3);
  }
  co_return Result<void>();
}

int main(int argc, char** argv) {
  const int launches = argc > 1 ? std::atoi(argv[1]) : 300;
  Rig rig;
  auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
  std::vector<std::vector<double>> times(kCount);
  auto done = started ? rig.run(measure(*rig.launcher, launches, times)) : std::move(started);
  if (!done) {
    std::fprintf(stderr, "%s\n", done.error().to_string().c_str());
    return 1;
  }
  for (size_t k = 0; k < kCount; ++k) {
    std::sort(times[k].begin(), times[k].end());
    std::printf("%-16s median %7.0f us   p90 %7.0f us\n", kPhases[k], times[k][times[k].size() / 2],
                times[k][times[k].size() * 9 / 10]);
  }
  return 0;
}
}  // namespace
}  // namespace gantry::test

int main(int argc, char** argv) { return gantry::test::main(argc, argv); }
