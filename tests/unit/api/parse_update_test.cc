#include <gtest/gtest.h>

#include "api/wire/json.h"
#include "api/wire/parse.h"

namespace gantry::wire {
namespace {
// The resources of a container launched with the first, after an update with the second.
ResourceSpec updated(std::string_view launched, std::string_view changes) {
  agent::Call::LaunchContainer launch;
  agent::Call::GantryUpdate update;
  EXPECT_TRUE(
      from_json(cat(R"({"container_id":{"value":"c1"},"gantry_spec":{"args":["x"],"resources":)",
                    launched, "}}"),
                launch));
  EXPECT_TRUE(
      from_json(cat(R"({"container_id":{"value":"c1"},"resources":)", changes, "}"), update));
  auto spec = parse_update(launch.SerializeAsString(), update);
  EXPECT_TRUE(spec) << (spec ? "" : spec.error().to_string());
  return spec ? spec->resources : ResourceSpec{};
}

TEST(ParseUpdate, WhatIsNotGivenStays) {
  const ResourceSpec now =
      updated(R"({"cpus":2,"memory_limit_bytes":67108864})", R"({"pids_limit":7})");
  EXPECT_EQ(now.cpu_quota, std::chrono::microseconds(200'000));
  EXPECT_EQ(now.memory_limit, 64u << 20);
  EXPECT_EQ(now.pids_limit, 7);
}

TEST(ParseUpdate, AThrottleIsReplacedByThatOfTheSameDevice) {
  const ResourceSpec now = updated(
      R"({"read_bps":[{"major_number":8,"minor_number":0,"rate":5},{"major_number":8,"minor_number":16,"rate":6}]})",
      R"({"read_bps":[{"major_number":8,"minor_number":0,"rate":7},{"major_number":8,"minor_number":32,"rate":8}],
          "write_iops":[{"major_number":8,"minor_number":0,"rate":9}]})");
  ASSERT_EQ(now.read_bps.size(), 3u);
  EXPECT_EQ(now.read_bps[0].rate, 7u);
  EXPECT_EQ(now.read_bps[1].rate, 6u);
  EXPECT_EQ(now.read_bps[2].rate, 8u);
  EXPECT_EQ(now.write_iops.size(), 1u);
}

TEST(ParseUpdate, NoneLiftsTheLimitOfWhatRunsAndIsNotKept) {
  const std::string_view launched =
      R"({"cpus":2,"memory_limit_bytes":67108864,"memory_swap_bytes":134217728})";
  const ResourceSpec now = updated(launched, R"({"cpus":0,"memory_limit_bytes":0})");
  EXPECT_LT(now.cpu_quota->count(), 0);
  EXPECT_EQ(now.memory_limit, Bytes{1} << 62);
  EXPECT_EQ(now.memory_swap, -1);
  agent::Call::LaunchContainer launch;
  agent::Call::GantryUpdate update;
  ASSERT_TRUE(
      from_json(cat(R"({"container_id":{"value":"c1"},"gantry_spec":{"args":["x"],"resources":)",
                    launched, "}}"),
                launch));
  ASSERT_TRUE(from_json(
      R"({"container_id":{"value":"c1"},"resources":{"cpus":0,"memory_limit_bytes":0}})", update));
  const auto later =
      parse_request_bytes(parse_update(launch.SerializeAsString(), update)->request_bytes);
  ASSERT_TRUE(later);
  EXPECT_FALSE(later->resources.cpu_quota);
  EXPECT_FALSE(later->resources.memory_limit);
  EXPECT_FALSE(later->resources.memory_swap);
}
}  // namespace
}  // namespace gantry::wire
