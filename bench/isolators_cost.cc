// Where a launch's time goes, by isolator and phase, without executor and containerizer: prepare,
// seal, launch, membership, exec, exit, cleanup. For people who change an isolator.
//   isolators-cost ROOT [launches] [idle milliseconds]
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/sys.h"
#include "isolators/default_isolators.h"
#include "launcher/remote_launcher.h"

namespace gantry {
namespace {
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

class Phases {
 public:
  void start() { last_ = Clock::now(); }
  void mark(const std::string& name) {
    const auto now = Clock::now();
    if (!times_.contains(name)) order_.push_back(name);
    times_[name].push_back(std::chrono::duration<double, std::micro>(now - last_).count());
    last_ = now;
  }
  void print() {
    for (const std::string& name : order_) {
      auto& list = times_[name];
      std::ranges::sort(list);
      ::printf("%-28s %8.1f us  p90 %8.1f\n", name.c_str(), list[list.size() / 2],
               list[list.size() * 9 / 10]);
    }
  }

 private:
  Clock::time_point last_;
  std::vector<std::string> order_;
  std::map<std::string, std::vector<double>> times_;
};

struct Bench {
  asio::io_context& loop;
  RemoteLauncher& launcher;
  ContainerCgroups& cgroups;
  std::vector<std::unique_ptr<Isolator>>& isolators;
  std::string root;
  Phases phases;
  Phases totals;
  int exit_code = 0;
};

Co<Result<void>> launch(Bench& bench, const ContainerId& id) {
  ContainerSpec spec;
  spec.root = DirectoryRoot{bench.root};
  spec.process.args = {"/bin/true"};
  Rootfs rootfs;
  rootfs.kind = Rootfs::Kind::directory;
  rootfs.directory = bench.root;
  const LaunchContext context{.id = id,
                              .cgroup_name = id.directory_name(),
                              .spec = spec,
                              .credentials = {},
                              .rootfs = rootfs,
                              .sandbox = "/tmp",
                              .runtime_dir = "/tmp",
                              .hostname = "bench",
                              .staging_dir = "/mnt"};
  bench.totals.start();
  bench.phases.start();
  LaunchPlan::Builder plan;
  for (auto& isolator : bench.isolators) {
    GANTRY_CO_TRY(co_await isolator->prepare(context, plan));
    bench.phases.mark(cat("prepare ", isolator->name()));
  }
  const int null = plan.fd(GANTRY_CO_TRY(sys::open("/dev/null", O_RDWR)));
  for (uint64_t number = 0; number < 3; ++number) {
    plan.add(Stage::begin, {.kind = OpKind::kDuplicate, .fd = null, .a = number});
  }
  auto signal = GANTRY_CO_TRY(sys::pipe());
  plan.add(Stage::wait, {.kind = OpKind::kBarrier, .fd = plan.fd(std::move(signal.read))});
  plan.add(Stage::credentials, {.kind = OpKind::kChdir, .s1 = plan.str("/")});
  plan.set_args({"true"});
  plan.set_env({"PATH=/bin"});
  plan.add(Stage::exec, {.kind = OpKind::kExec, .s1 = plan.str("/bin/true")});
  LaunchPlan sealed = GANTRY_CO_TRY(std::move(plan).seal());
  bench.phases.mark("seal");
  LaunchedChild child = GANTRY_CO_TRY(co_await bench.launcher.launch(id.hash(), sealed, {}));
  bench.phases.mark("launch");
  for (auto& isolator : bench.isolators) {
    GANTRY_CO_TRY(co_await isolator->isolate(context, child.process));
  }
  bench.phases.mark("isolate");
  const auto give = [&](uint32_t) -> Co<Result<void>> {
    bench.phases.mark("barrier");
    GANTRY_CO_TRY(bench.cgroups.verify_membership(id, child.process.pid()));
    bench.phases.mark("verify");
    co_return sys::write_all(signal.write.get(), "s");
  };
  GANTRY_CO_TRY(co_await wait_exec(sealed, child.report_pipe.get(), 10s, give));
  bench.phases.mark("child's ops and exec");
  GANTRY_CO_TRY(co_await bench.launcher.wait_exit(id.hash()));
  bench.phases.mark("exit");
  for (size_t i = bench.isolators.size(); i-- > 0;) {
    GANTRY_CO_TRY(co_await bench.isolators[i]->cleanup(id));
  }
  bench.phases.mark("cleanup");
  GANTRY_CO_TRY(co_await bench.launcher.forget(id.hash()));
  bench.phases.mark("forget");
  bench.totals.mark("all");
  co_return Result<void>();
}

// A failed launch's child meets end-of-file on its pipe and ends by itself.
Co<void> clean_up(Bench& bench, const ContainerId& id) {
  (co_await bench.launcher.wait_exit(id.hash())).ignore("it may never have been cloned");
  for (size_t i = bench.isolators.size(); i-- > 0;) {
    (co_await bench.isolators[i]->cleanup(id)).ignore("the error to show is the launch's");
  }
  (co_await bench.launcher.forget(id.hash())).ignore("the error to show is the launch's");
}

Co<Result<void>> measure(Bench& bench, int launches, int idle_ms) {
  for (auto& isolator : bench.isolators) GANTRY_CO_TRY(co_await isolator->recover({}));
  constexpr int kWarmUp = 20;
  for (int i = 0; i < kWarmUp + launches; ++i) {
    if (i == kWarmUp) bench.phases = bench.totals = {};
    if (i >= kWarmUp && idle_ms > 0) co_await sleep_for(std::chrono::milliseconds(idle_ms));
    const ContainerId id = ContainerId::generate();
    auto launched = co_await launch(bench, id);
    if (!launched) {
      co_await clean_up(bench, id);
      co_return launched;
    }
  }
  bench.phases.print();
  bench.totals.print();
  co_return Result<void>();
}

Co<void> run(Bench& bench, std::string directory, int launches, int idle_ms) {
  const auto note = [&](Result<void> result) {
    if (result) return;
    ::fprintf(stderr, "%s\n", result.error().to_string().c_str());
    bench.exit_code = 1;
  };
  auto started =
      co_await bench.launcher.start_or_connect({.runtime_dir = directory,
                                                .launcher_binary = GANTRY_LAUNCHER_BINARY,
                                                .logger_binary = GANTRY_LOGGER_BINARY,
                                                .cgroup_root = "/gantry-isolators-cost"});
  if (started) {
    note(co_await measure(bench, launches, idle_ms));
    note(co_await bench.launcher.shutdown());
  } else {
    note(std::move(started));
  }
  note(co_await bench.cgroups.close());
  co_await bench.launcher.close();
  bench.loop.stop();
}
}  // namespace
}  // namespace gantry

int main(int argc, char** argv) {
  using namespace gantry;
  if (argc < 2) return 2;
  char directory[] = "/tmp/gantry-isolators-cost.XXXXXX";
  if (::mkdtemp(directory) == nullptr) return 1;
  asio::io_context loop;
  auto layout = CgroupLayout::detect();
  CgroupOptions options = default_cgroup_options("/gantry-isolators-cost");
  if (const char* size = ::getenv("POOL")) options.pool_size = static_cast<size_t>(::atoi(size));
  auto cgroups = ContainerCgroups::open(loop.get_executor(), std::move(*layout), options);
  if (!cgroups) {
    ::fprintf(stderr, "%s\n", cgroups.error().to_string().c_str());
    return 1;
  }
  auto isolators = make_default_isolators(loop.get_executor(), **cgroups);
  RemoteLauncher launcher(loop.get_executor());
  Bench bench{loop, launcher, **cgroups, isolators, argv[1], {}, {}, 0};
  asio::co_spawn(
      loop, run(bench, directory, argc > 2 ? ::atoi(argv[2]) : 300, argc > 3 ? ::atoi(argv[3]) : 0),
      [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
      });
  loop.run();
  ::rmdir(directory);
  return bench.exit_code;
}
