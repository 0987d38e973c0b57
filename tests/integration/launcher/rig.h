// A launcher of its own for one test: runtime directory, cgroup root, busybox root filesystem; all
// gone at the end.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/sys.h"
#include "launcher/plan.h"
#include "launcher/remote_launcher.h"

namespace gantry::test {
// Runs a coroutine to its end on a loop of its own thread and returns what it returned.
template <class T>
T run_on(asio::io_context& loop, Co<T> task) {
  std::optional<T> out;
  asio::co_spawn(
      loop,
      [](Co<T> inner, std::optional<T>& slot) -> Co<void> {
        co_await asio::this_coro::throw_if_cancelled(false);
        slot.emplace(co_await std::move(inner));
      }(std::move(task), out),
      [&loop](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
        loop.stop();
      });
  loop.restart();
  loop.run();
  return std::move(*out);
}

// A busybox root filesystem in a fresh directory; made once per process.
const std::string& busybox_root();

class Rig {
 public:
  Rig();
  ~Rig();
  RemoteLauncher::Config config() const;
  template <class T>
  T run(Co<T> task) {
    return run_on(loop, std::move(task));
  }
  std::string directory;  // everything of this test
  std::string cgroup_root;
  asio::io_context loop;
  std::unique_ptr<RemoteLauncher> launcher;
};

// What most plans need: signal pipe, stdio on /dev/null or pipes, the command.
struct PlanSetup {
  LaunchPlan::Builder builder;
  UniqueFd signal_write;
};
PlanSetup plain_plan(const std::vector<std::string>& args);
// Launches, signals, waits, forgets.
Co<Result<ExitRecord>> run_to_end(RemoteLauncher& launcher, std::string key, PlanSetup setup);

// A container with stdio of its own, running.
enum class WithStdin { no, yes };
struct Running {
  std::optional<LaunchedChild> child;
  std::string log_directory;
};
Running start(Rig& rig, const std::string& key, const std::vector<std::string>& args,
              WithStdin with_stdin = WithStdin::no);
// Kills, waits, forgets.
void end(Rig& rig, Running& running, const std::string& key);
// The standard output of a container that runs to its end.
std::string output_of(Rig& rig, const std::string& key, const std::vector<std::string>& args);

size_t count_of(const std::string& directory);
long resident_kib(pid_t pid);
// The child of `parent` whose /proc/PID/exe names `exe`; 0 when there is none.
pid_t child_of(pid_t parent, const std::string& exe);

// Namespaces, root and the mounts of an ordinary container.
void add_container(LaunchPlan::Builder& builder, const std::string& root);
}  // namespace gantry::test
