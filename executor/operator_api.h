// The operator API: POST /api/v1, in JSON and protobuf, as a Mesos agent speaks it, and Gantry's
// own calls in the same style. Decodes, validates, asks the OperatorBackend, encodes.
//
// Threads: loop only. Keeps no state between requests; the backend must outlive it.
#pragma once

#include "executor/http/exchange.h"
#include "executor/operator_backend.h"

namespace gantry {
class OperatorApi final : public http::Handler {
 public:
  explicit OperatorApi(OperatorBackend& backend) : backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  OperatorBackend& backend_;
};

// GET /health: 200 while the daemon is well, else 503.
class HealthEndpoint final : public http::Handler {
 public:
  explicit HealthEndpoint(OperatorBackend& backend) : backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  OperatorBackend& backend_;
};

// GET /metrics: the metrics in Prometheus' text format.
class MetricsEndpoint final : public http::Handler {
 public:
  explicit MetricsEndpoint(OperatorBackend& backend) : backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  OperatorBackend& backend_;
};

// The HTTP status of an Error (operator_backend.h), and the answer it becomes.
unsigned status_of(const Error& error);
http::Response refusal(const Error& error);
// docker's exit status for a launch that failed: 127 when the command was not found, 126 when it
// cannot be executed, else 125. Sent as the header Gantry-Exit-Status.
int exit_status_of_failed_launch(const Error& error);
}  // namespace gantry
