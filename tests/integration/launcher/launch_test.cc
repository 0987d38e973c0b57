// Real launches through a real gantry-launcher.
#include <sys/wait.h>

#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

Co<Result<ExitRecord>> run_to_end(RemoteLauncher& launcher, std::string key, PlanSetup setup) {
  LaunchPlan plan = GANTRY_CO_TRY(std::move(setup.builder).seal());
  LaunchedChild child = GANTRY_CO_TRY(co_await launcher.launch(key, plan, {}));
  GANTRY_CO_TRY(sys::write_all(setup.signal_write.get(), "!"));
  GANTRY_CO_TRY(co_await wait_exec(plan, child.report_pipe.get(), 10s));
  ExitRecord exit = GANTRY_CO_TRY(co_await launcher.wait_exit(key));
  GANTRY_CO_TRY(co_await launcher.forget(key));
  co_return exit;
}

TEST(Launch, TrueInAllNamespacesExitsZero) {
  Rig rig;
  auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
  ASSERT_TRUE(started) << started.error().to_string();
  PlanSetup setup = plain_plan({"true"});
  add_container(setup.builder, busybox_root());
  auto exit = rig.run(run_to_end(*rig.launcher, "one", std::move(setup)));
  ASSERT_TRUE(exit) << exit.error().to_string();
  EXPECT_TRUE(WIFEXITED(exit->wait_status));
  EXPECT_EQ(WEXITSTATUS(exit->wait_status), 0);
}
}  // namespace
}  // namespace gantry::test
