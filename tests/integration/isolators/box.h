// Real containers for the isolators' tests: a launcher of the test program's own, a busybox root
// filesystem, the default isolators; everything gone at the end, and looked for after each test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "isolators/default_isolators.h"
#include "launcher/launch_backend.h"
#include "launcher/remote_launcher.h"

namespace gantry::test {
struct BoxResult {
  std::string error;  // of the launch; empty: it ran
  int wait_status = -1;
  std::string out;  // stdout and stderr
  std::optional<Limitation> limitation;
  Usage usage;  // asked for right after the exit, before cleanup
  int exit_code() const { return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1; }
};

class BoxTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void TearDown() override;  // fails on anything left behind

  // A container of the busybox root that runs `script` in a shell.
  static ContainerSpec shell(std::string script);
  static const std::string& busybox_root();
  // A copy of it that a test may damage; removed with the test.
  std::string own_root();

  // Launches, waits for the end (or for the first limitation, then kills), cleans up.
  BoxResult run(ContainerSpec spec, std::optional<Rootfs> root = std::nullopt);
  // Called while it runs, between exec and exit.
  BoxResult run(ContainerSpec spec, std::optional<Rootfs> root,
                std::function<Co<void>(const ContainerId&, const ProcessRef&)> meanwhile);
  // The output of a shell script that must end with 0.
  std::string output_of(ContainerSpec spec);

  static asio::io_context& loop();
  static ContainerCgroups& cgroups();
  static Isolator& isolator(std::string_view name);

 private:
  Co<Result<void>> launch(const LaunchContext& context, UniqueFd output, BoxResult& result,
                          std::optional<ProcessRef>& process);
  Co<BoxResult> live(ContainerSpec spec, std::optional<Rootfs> root,
                     std::function<Co<void>(const ContainerId&, const ProcessRef&)> meanwhile);

  std::vector<std::string> own_roots_;
  int number_ = 0;
};
}  // namespace gantry::test
