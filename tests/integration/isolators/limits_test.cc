// Limits, measured from inside and outside.
#include <sys/resource.h>

#include <filesystem>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "tests/integration/isolators/box.h"
#include "tests/integration/isolators/cgroup_test_root.h"
#include "tests/support/many.h"

namespace gantry {
namespace {
using test::BoxResult;
using test::BoxTest;
using test::many;
using test::ok;
using namespace std::chrono_literals;
constexpr Bytes kMiB = 1 << 20;

ContainerSpec probe(ContainerSpec spec, std::vector<std::string> args) {
  spec.process.args = {"/bin/probe"};
  spec.process.args.insert(spec.process.args.end(), args.begin(), args.end());
  return spec;
}

TEST_F(BoxTest, ForkBombMeetsThePidsLimit) {
  ContainerSpec spec = probe(shell(""), {"forks", "1000"});
  spec.resources.pids_limit = 20;
  const BoxResult result = run(spec);
  EXPECT_EQ(result.out, "forked=19 errno=11\n");
  EXPECT_EQ(result.usage.pids_limit, 20u);
}

TEST_F(BoxTest, MemoryHogEndsWithALimitationAndItsNeighbourLives) {
  ContainerSpec spec = probe(shell(""), {"hog", "200"});
  spec.resources.memory_limit = 32 * kMiB;
  const BoxResult result = run(spec);
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(WTERMSIG(result.wait_status), SIGKILL);
  ASSERT_TRUE(result.limitation.has_value());
  EXPECT_EQ(result.limitation->resource, "memory");
  EXPECT_NE(result.limitation->message.find("32 MiB"), std::string::npos);
  EXPECT_EQ(result.usage.memory_limit, 32 * kMiB);
  EXPECT_GE(*result.usage.oom_kills, 1u);
  EXPECT_GE(*result.usage.memory_peak, 31 * kMiB);
}

TEST_F(BoxTest, AChildThatTheOomKillerTookEndsTheContainerToo) {
  ContainerSpec spec = shell("probe hog 200; echo child $?; busybox sleep 30");
  spec.resources.memory_limit = 32 * kMiB;
  const auto start = std::chrono::steady_clock::now();
  const BoxResult result = run(spec);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s) << "seen when it happens";
  ASSERT_TRUE(result.limitation.has_value());
  EXPECT_EQ(result.limitation->resource, "memory");
}

TEST_F(BoxTest, EnoughMemoryIsNoLimitation) {
  ContainerSpec spec = probe(shell(""), {"hog", "20"});
  spec.resources.memory_limit = 64 * kMiB;
  spec.resources.memory_reservation = 16 * kMiB;
  const BoxResult result = run(spec);
  EXPECT_EQ(result.exit_code(), 0);
  EXPECT_FALSE(result.limitation.has_value());
  EXPECT_EQ(result.usage.oom_kills, 0u);
}

TEST_F(BoxTest, CpuQuotaIsTheShareItGets) {
  ContainerSpec spec = probe(shell(""), {"spin", "1500"});
  spec.resources.cpu_quota = 25ms;
  spec.resources.cpu_period = 100ms;
  const BoxResult result = run(spec);
  int cpu_ms = 0;
  ASSERT_EQ(std::sscanf(result.out.c_str(), "cpu_ms=%d", &cpu_ms), 1) << result.out;
  // A quarter of 1.5 s and a period's worth at the edges.
  EXPECT_LE(cpu_ms, 1500 * 0.25 + 60);
  // It gets the quarter, unless others leave it less.
  double load = 0;
  ::getloadavg(&load, 1);
  if (load < static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN))) {
    EXPECT_GE(cpu_ms, 150);
    EXPECT_GE(*result.usage.cpu_throttled_periods, 5u);
  }
  EXPECT_DOUBLE_EQ(*result.usage.cpus_limit, 0.25);
  // The kernel's counters have the exec besides.
  const uint64_t counted = *result.usage.cpu_user_us + *result.usage.cpu_system_us;
  EXPECT_GE(counted / 1000 + 30, static_cast<uint64_t>(cpu_ms));
  EXPECT_LE(counted / 1000, static_cast<uint64_t>(cpu_ms) + 250);
}

TEST_F(BoxTest, CpusetIsWhereItRuns) {
  ContainerSpec spec = shell("busybox grep Cpus_allowed_list /proc/self/status");
  spec.resources.cpuset_cpus = "0";
  EXPECT_EQ(output_of(spec), "Cpus_allowed_list:\t0\n");
  spec.resources.cpuset_cpus = "4000";
  EXPECT_NE(run(spec).error.find("cpuset_cpus"), std::string::npos);
  spec.resources.cpuset_cpus = "0-x";
  EXPECT_NE(run(spec).error.find("cpuset_cpus"), std::string::npos);
}

TEST_F(BoxTest, AffinityNiceAndOomScoreOfTheStarterDoNotLeakIn) {
  // This thread's, which the launcher does not share: its own are reset by the plan all the same.
  const std::string out =
      output_of(shell("busybox grep Cpus_allowed_list /proc/self/status; "
                      "busybox cut -d ' ' -f 18,19 /proc/self/stat; "
                      "busybox cat /proc/self/oom_score_adj"));
  EXPECT_NE(out.find("Cpus_allowed_list:\t0-"), std::string::npos) << out;
  EXPECT_NE(out.find("\n20 0\n0\n"), std::string::npos) << out;
}

TEST_F(BoxTest, LimitsAreUpdatedWhileItRuns) {
  ContainerSpec spec = probe(shell(""), {"hold", "16"});
  spec.resources.memory_limit = 64 * kMiB;
  spec.resources.pids_limit = 10;
  std::vector<std::string> errors;
  const BoxResult result =
      run(spec, std::nullopt, [&](const ContainerId& id, const ProcessRef& process) -> Co<void> {
        for (Usage now; now.memory_anon.value_or(0) < 16 * kMiB;) {
          co_await sleep_for(1ms);
          ok(co_await isolator("memory").usage(id, now));
        }
        for (const Bytes limit : {32 * kMiB, 128 * kMiB}) {
          ResourceSpec wanted;
          wanted.memory_limit = limit;
          wanted.pids_limit = 20;
          wanted.cpu_shares = 512;
          wanted.cpu_quota = 50ms;
          for (const char* name : {"memory", "pids", "cpu"}) {
            auto done = co_await isolator(name).update(id, wanted);
            if (!done) errors.push_back(done.error().to_string());
          }
          Usage usage;
          ok(co_await isolator("memory").usage(id, usage));
          ok(co_await isolator("cpu").usage(id, usage));
          EXPECT_EQ(usage.memory_limit, limit);
          EXPECT_DOUBLE_EQ(usage.cpus_limit.value_or(0), 0.5);
        }
        // Less than it uses already: refused, and the old one stays.
        ResourceSpec tiny;
        tiny.memory_limit = kMiB;
        auto refused = co_await isolator("memory").update(id, tiny);
        EXPECT_FALSE(refused.has_value());
        if (!refused) {
          EXPECT_NE(refused.error().to_string().find("in use"), std::string::npos)
              << refused.error().to_string();
          Usage usage;
          ok(co_await isolator("memory").usage(id, usage));
          EXPECT_EQ(usage.memory_limit, 128 * kMiB);
        }
        process.signal(SIGKILL).ignore("");
      });
  EXPECT_TRUE(errors.empty()) << errors.front();
  EXPECT_EQ(WTERMSIG(result.wait_status), SIGKILL);
}

TEST_F(BoxTest, IoIsCounted) {
  const std::string root = own_root();
  ContainerSpec spec =
      shell("busybox dd if=/dev/zero of=/big bs=1M count=4 conv=fsync 2>/dev/null");
  spec.root = DirectoryRoot{root};
  const BoxResult result = run(spec);
  EXPECT_EQ(result.exit_code(), 0) << result.out;
  ASSERT_TRUE(result.usage.io_written.has_value());
  // v1 charges write-back to the writer only for direct and synchronous writes; what is counted is
  // what the kernel's file says.
  EXPECT_GE(*result.usage.io_written, 0u);
}

TEST_F(BoxTest, HundredLaunchesLeakNothing) {
  const auto count = [](const char* path) {
    return std::distance(std::filesystem::directory_iterator(path), {});
  };
  for (int i = 0; i < 10; ++i) output_of(shell("true"));
  const auto fds = count("/proc/self/fd");
  for (int i = 0; i < many(100); ++i) EXPECT_EQ(run(shell("true")).exit_code(), 0);
  EXPECT_LE(count("/proc/self/fd"), fds + 150) << "the pool's own";
  run(shell("true"));
}
}  // namespace
}  // namespace gantry
