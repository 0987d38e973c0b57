// The operator API: POST /api/v1, in JSON and protobuf, as a Mesos agent speaks it, and Gantry's
// own calls in the same style. Decodes, validates, asks the OperatorBackend, encodes.
//
// Threads: loop only. Keeps nothing of a request that has ended; backend and agent must outlive it.
#pragma once

#include "executor/agent_state.h"
#include "executor/http/exchange.h"
#include "executor/operator_backend.h"
#include "executor/pending_launches.h"

namespace gantry {
class OperatorApi final : public http::Handler {
 public:
  OperatorApi(OperatorBackend& backend, AgentState& agent) : backend_(backend), agent_(agent) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  OperatorBackend& backend_;
  AgentState& agent_;
  PendingLaunches pending_;
};

// GET /health: 200 while the daemon is well, else 503.
class HealthEndpoint final : public http::Handler {
 public:
  explicit HealthEndpoint(OperatorBackend& backend) : backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  OperatorBackend& backend_;
};

// The answer to any other method; nullopt for GET and HEAD.
std::optional<http::Response> only_get(const http::Request& request);
// The HTTP status of an Error (operator_backend.h), and the answer it becomes.
unsigned status_of(const Error& error);
http::Response refusal(const Error& error);
// docker's exit status for a launch that failed: 127 when the command was not found, 126 when it
// cannot be executed, else 125. Sent as the header Gantry-Exit-Status.
int exit_status_of_failed_launch(const Error& error);
}  // namespace gantry
