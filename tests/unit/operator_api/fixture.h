// The operator API behind a real server on a real socket, with a MemoryBackend.
#pragma once

#include <memory>

#include "executor/http/router.h"
#include "executor/metrics.h"
#include "executor/operator_api.h"
#include "tests/unit/http/client.h"
#include "tests/unit/operator_api/memory_agent.h"
#include "tests/unit/operator_api/memory_backend.h"
#include "tests/unit/operator_api/memory_metrics.h"

namespace gantry {
class OperatorApiTest : public testing::Test {
 protected:
  OperatorApiTest() {
    router_.add("/api/v1", *api_);
    router_.add("/health", *health_);
    router_.add("/metrics", *metrics_);
  }
  ~OperatorApiTest() override { server_.stop(); }

  // One request on a connection of its own; the whole response, dates replaced.
  std::string ask(std::string_view body, std::string_view type = "application/json",
                  std::string_view more = "Accept: application/json\r\n") {
    return server_.client()
        .send(cat("POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: ", type, "\r\n", more,
                  "Connection: close\r\nContent-Length: ", body.size(), "\r\n\r\n", body))
        .all();
  }
  static std::string ok_empty() {
    return "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\n\r\n";
  }
  static std::string ok(std::string_view body) {
    return cat("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: application/json\r\nContent-Length: ",
               body.size(), "\r\n\r\n", body);
  }
  static std::string refused(unsigned status, std::string_view text, std::string_view more = "") {
    return cat("HTTP/1.1 ", status, " ", http::reason_phrase(status), "\r\nDate: D\r\n", more,
               "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ", text.size(),
               "\r\n\r\n", text);
  }
  // Launches a container that runs until it is ended.
  void launch(std::string_view id) {
    EXPECT_EQ(ask(cat(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":")",
                      id, R"("},"command":{"value":"sleep"}}})")),
              ok_empty());
  }
  // Looks at, or changes, the backend on its own thread.
  template <class F>
  std::invoke_result_t<F> on_loop(F f) {
    return server_.on_loop_get(std::move(f));
  }
  template <class F>
  bool soon(F condition) {
    for (int i = 0; i < 1000; ++i) {
      if (on_loop(condition)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  http::Router router_;
  http::ServerThread server_{router_};
  MemoryBackend backend_{server_.executor()};
  MemoryAgent agent_;
  std::unique_ptr<OperatorApi> api_ = std::make_unique<OperatorApi>(backend_, agent_);
  std::unique_ptr<HealthEndpoint> health_ = std::make_unique<HealthEndpoint>(backend_);
  MemoryMetrics measured_;
  std::unique_ptr<MetricsEndpoint> metrics_ =
      std::make_unique<MetricsEndpoint>(measured_, server_.executor());
};
}  // namespace gantry
