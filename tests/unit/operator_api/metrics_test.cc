// GET /metrics: the page, and what many who ask at once cost.
#include "tests/unit/operator_api/fixture.h"

namespace gantry {
namespace {
class MetricsTest : public OperatorApiTest {
 protected:
  http::Client asked() {
    http::Client client = server_.client();
    client.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    return client;
  }
};

bool has(const std::string& page, std::string_view line) {
  const bool found = page.find(cat("\n", line, "\n")) != std::string::npos;
  if (!found) ADD_FAILURE() << line << " is not in\n" << page;
  return found;
}

TEST(PrometheusTest, SaysUnitsAndEscapesLabels) {
  HostMetrics host{.version = "1", .started = 100, .now = 101.5};
  host.by_state["running"] = 2;
  host.launches.fail();
  host.launches.succeed(std::chrono::milliseconds(2));
  host.launches.succeed(std::chrono::seconds(60));
  host.containers.push_back({.id = "a", .name = "q\"b\\n\n\xff", .image = "i:1", .usage = {}});
  host.containers[0].usage.cpu_user_us = 1'500'000;
  host.containers[0].usage.memory_current = 4096;
  host.containers[0].pressure = {{"cpu", 2'000'000, {}}, {"io", 1'000'000, 500'000}};
  const std::string page = to_prometheus(host, {.open_fds = 7});
  const std::string who = R"(id="a",name="q\"b\\n\n)"
                          "\xef\xbf\xbd"
                          "\"";
  has(page, "# HELP gantry_uptime_seconds How long the executor runs.");
  has(page, "# TYPE gantry_uptime_seconds gauge");
  has(page, "gantry_uptime_seconds 1.5");
  has(page, "gantry_open_fds 7");
  has(page, "gantry_containers{state=\"running\"} 2");
  has(page, "gantry_launches_total 3");
  has(page, "gantry_launch_failures_total 1");
  has(page, "gantry_launch_duration_seconds_bucket{le=\"0.001\"} 0");
  has(page, "gantry_launch_duration_seconds_bucket{le=\"0.002\"} 1");
  has(page, "gantry_launch_duration_seconds_bucket{le=\"30\"} 1");
  has(page, "gantry_launch_duration_seconds_bucket{le=\"+Inf\"} 2");
  has(page, "gantry_launch_duration_seconds_sum 60.002");
  has(page, "gantry_launch_duration_seconds_count 2");
  has(page, cat("gantry_container_info{", who, ",image=\"i:1\"} 1"));
  has(page, cat("gantry_container_cpu_seconds_total{", who, ",mode=\"user\"} 1.5"));
  has(page, cat("gantry_container_memory_bytes{", who, "} 4096"));
  has(page, cat("gantry_container_pressure_waiting_seconds_total{", who, ",resource=\"cpu\"} 2"));
  has(page, cat("gantry_container_pressure_stalled_seconds_total{", who, ",resource=\"io\"} 0.5"));
  // What the kernel does not say is absent, its head too.
  EXPECT_EQ(page.find("gantry_container_memory_limit_bytes"), std::string::npos);
  EXPECT_EQ(page.find("mode=\"system\"}", page.find("_container_cpu_seconds")), std::string::npos);
}

TEST_F(MetricsTest, ManyWhoAskAtOnceCostWhatTwoDo) {
  on_loop([&] { measured_.is_held = true; });
  http::Client first = asked();
  EXPECT_TRUE(soon([&] { return measured_.gathered == 1; }));
  // These come while a page is made, which says nothing of what happened just before they asked.
  std::vector<http::Client> others;
  for (int i = 0; i < 50; ++i) others.push_back(asked());
  EXPECT_TRUE(soon([&] { return server_.server().active_request_count() == 51; }));
  on_loop([&] {
    measured_.host.now = 200;
    measured_.is_held = false;
  });
  EXPECT_NE(first.all().find("gantry_uptime_seconds 100\n"), std::string::npos);
  for (http::Client& other : others) {
    EXPECT_NE(other.all().find("gantry_uptime_seconds 100\n"), std::string::npos);
  }
  EXPECT_EQ(on_loop([&] { return measured_.gathered; }), 2);
}
}  // namespace
}  // namespace gantry
