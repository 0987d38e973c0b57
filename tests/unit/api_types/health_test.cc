#include "api/types/health.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
using namespace std::chrono_literals;

HealthCheck check(int exit_code) { return {.exit_code = exit_code}; }

TEST(Health, RetriesInARowMakeItUnhealthyAndOneSuccessHealthy) {
  const HealthSpec spec{.args = {"x"}};
  Health health;
  for (int i = 0; i < 2; ++i) health.add(check(1), spec, 0s);
  EXPECT_EQ(health.status, HealthStatus::starting);
  health.add(check(0), spec, 0s);
  EXPECT_EQ(health.status, HealthStatus::healthy);
  EXPECT_EQ(health.failing_streak, 0u);
  for (int i = 0; i < 2; ++i) health.add(check(-1), spec, 0s);
  EXPECT_EQ(health.status, HealthStatus::healthy);
  health.add(check(1), spec, 0s);
  EXPECT_EQ(health.status, HealthStatus::unhealthy);
  health.add(check(0), spec, 0s);
  EXPECT_EQ(health.status, HealthStatus::healthy);
}

TEST(Health, FailuresOfTheStartPeriodDoNotCountUntilItWasHealthyOnce) {
  const HealthSpec spec{.args = {"x"}, .start_period = 10s, .retries = 1};
  Health health;
  health.add(check(1), spec, 9s);
  EXPECT_EQ(health.status, HealthStatus::starting);
  EXPECT_EQ(health.failing_streak, 0u);
  Health late = health;
  late.add(check(1), spec, 10s);
  EXPECT_EQ(late.status, HealthStatus::unhealthy);
  health.add(check(0), spec, 9s);
  health.add(check(1), spec, 9s);
  EXPECT_EQ(health.status, HealthStatus::unhealthy);
}

TEST(Health, PausesAsDockerDoes) {
  const HealthSpec spec{.args = {"x"}, .start_period = 10s};
  Health health;
  EXPECT_EQ(health.pause(spec, 9s), 5s);
  EXPECT_EQ(health.pause(spec, 10s), 30s);
  health.add(check(0), spec, 1s);
  EXPECT_EQ(health.pause(spec, 1s), 30s);
  EXPECT_EQ(Health().pause({.args = {"x"}, .interval = 2s}, 0s), 2s);
}

TEST(Health, TheLastFiveAreKept) {
  const HealthSpec spec{.args = {"x"}};
  Health health;
  for (int i = 0; i < 8; ++i) health.add(check(i), spec, 0s);
  ASSERT_EQ(health.log.size(), 5u);
  EXPECT_EQ(health.log.front().exit_code, 3);
  EXPECT_EQ(health.log.back().exit_code, 7);
}
}  // namespace
}  // namespace gantry
