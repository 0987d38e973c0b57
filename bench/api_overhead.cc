// What a request costs besides its work: round trips over a unix socket against a server thread.
//   floor    64 bytes to a thread that sends them back with read and write, nothing else
//   health   GET_HEALTH through the HTTP server and the operator API
//   launch   LAUNCH_CONTAINER of what `gantry run` sends, parsed and validated, into a backend that
//            does nothing
// and the launch's parts alone, without a socket.
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "api/wire/json.h"
#include "api/wire/parse.h"
#include "tests/unit/operator_api/fixture.h"

namespace gantry {
namespace {
using Clock = std::chrono::steady_clock;
constexpr int kRounds = 20'000;

constexpr std::string_view kLaunch =
    R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"0123456789abcdef0123456789abcdef"},"gantry_spec":{"image":"busybox:latest","args":["true"],"env":["TERM=xterm"],"user":"0","resources":{"memory_limit_bytes":67108864,"cpus":0.5,"pids_limit":64},"mounts":[{"type":"BIND","source":"/srv","destination":"/data","read_only":true}],"network":{"mode":"NONE"},"labels":{"a":"b"},"remove_on_exit":true}}})";

template <class F>
void measure(const char* name, F once) {
  std::vector<double> times;
  for (int i = 0; i < 1000; ++i) once();
  for (int i = 0; i < kRounds; ++i) {
    const auto from = Clock::now();
    once();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - from).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%-14s median %7.2f us   p99 %7.2f us\n", name, times[kRounds / 2],
              times[kRounds / 100 * 99]);
}

class Nothing final : public http::Handler {
 public:
  explicit Nothing(MemoryBackend& backend) : api_(backend, agent_), backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override {
    http::Response response = co_await api_.handle(exchange);
    backend_.containers.clear();
    backend_.audited.clear();
    co_return response;
  }

 private:
  MemoryAgent agent_;
  OperatorApi api_;
  MemoryBackend& backend_;
};

void round_trip(http::Client& client, const std::string& request) {
  char buffer[4096];
  client.send(request);
  if (::recv(client.fd(), buffer, sizeof buffer, 0) <= 0) std::abort();
}

std::string post(std::string_view body) {
  return cat(
      "POST /api/v1 HTTP/1.1\r\nHost: gantry\r\nContent-Type: application/json\r\n"
      "Accept: application/json\r\nContent-Length: ",
      body.size(), "\r\n\r\n", body);
}

void measure_floor() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  std::thread echo([fd = ends[1]] {
    char buffer[64];
    for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      if (::send(fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
    }
  });
  http::Client client{UniqueFd(ends[0])};
  measure("floor", [&] { round_trip(client, std::string(64, 'x')); });
  client.close();
  echo.join();
  ::close(ends[1]);
}
}  // namespace

int run() {
  measure_floor();
  std::optional<Nothing> handler;
  http::Router router;
  http::ServerThread server(router);
  MemoryBackend backend(server.executor());
  handler.emplace(backend);
  router.add("/api/v1", *handler);
  http::Client client = server.client();
  const std::string health = post(R"({"type":"GET_HEALTH"})"), launch = post(kLaunch);
  measure("health", [&] { round_trip(client, health); });
  measure("launch", [&] { round_trip(client, launch); });
  measure("- from_json", [] {
    wire::agent::Call call;
    if (!wire::from_json(kLaunch, call)) std::abort();
  });
  wire::agent::Call call;
  if (!wire::from_json(kLaunch, call)) std::abort();
  measure("- parse_launch", [&] {
    if (!wire::parse_launch(wire::Field("launch_container"), call.launch_container())) std::abort();
  });
  server.stop();
  return 0;
}
}  // namespace gantry

int main() { return gantry::run(); }
