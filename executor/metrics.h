// GET /metrics: this executor and its containers in Prometheus' text format.
//
// Threads: loop only; the page is written beside it. A walk over the containers is made for all
// that asked meanwhile, so that many who ask cost what one costs.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/co.h"
#include "executor/http/exchange.h"
#include "executor/launch_counts.h"
#include "launcher/isolator.h"

namespace gantry {
// How long tasks had to wait for a resource (the kernel's PSI).
struct Pressure {
  std::string_view resource;             // "cpu", "memory", "io"
  uint64_t waiting_us = 0;               // some task waited
  std::optional<uint64_t> stalled_us{};  // all of them did
};
struct ContainerMetrics {
  std::string id, name, image;
  int64_t started_ns = 0;  // since the epoch; 0: not yet
  uint32_t restarts = 0;
  Usage usage;
  std::vector<Pressure> pressure = {};  // empty: the kernel does not say
};
struct HostMetrics {
  std::string version;
  double started = 0, now = 0;               // seconds since the epoch; of one clock
  std::map<std::string, uint64_t> by_state;  // containers, nested ones too
  LaunchCounts launches;
  uint64_t prepared_children = 0, prepared_launches = 0;
  uint64_t connections = 0, requests = 0, refused_connections = 0;
  uint64_t failed_handshakes = 0;  // of TLS
  uint64_t turned_away = 0;        // requests without certificate and token
  uint64_t lost_audit_lines = 0;
  std::vector<ContainerMetrics> containers;  // live ones
};

class MetricsSource {
 public:
  virtual ~MetricsSource() = default;
  // Gives the loop back now and then.
  virtual Co<HostMetrics> gather() = 0;
};

// Facts of this process that are read where the page is written.
struct ProcessMetrics {
  double user_seconds = 0, system_seconds = 0;
  uint64_t resident_bytes = 0, open_fds = 0, most_fds = 0;
};
ProcessMetrics process_metrics();

std::string to_prometheus(const HostMetrics& host, const ProcessMetrics& process);

class MetricsEndpoint final : public http::Handler {
 public:
  MetricsEndpoint(MetricsSource& source, const asio::any_io_executor& executor)
      : source_(source), made_changed_(executor) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  Co<std::shared_ptr<const std::string>> page();

  MetricsSource& source_;
  std::shared_ptr<const std::string> page_;  // the last one
  uint64_t begun_ = 0, made_ = 0;            // pages
  Event made_changed_;
};
}  // namespace gantry
