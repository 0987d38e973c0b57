// HostMetrics of the running executor, gathered from its parts.
//
// Threads: loop only. Its parts must outlive it.
#pragma once

#include "containerizer/containerizer.h"
#include "executor/audit_log.h"
#include "executor/gatekeeper.h"
#include "executor/http/server.h"
#include "executor/metrics.h"
#include "executor/operator_backend.h"

namespace gantry {
class HostMetricsSource final : public MetricsSource {
 public:
  HostMetricsSource(OperatorBackend& backend, Containerizer& containerizer,
                    const http::Server& server, const Gatekeeper* gatekeeper,
                    const LaunchCounts& launches, const AuditLog& audit_log);
  Co<HostMetrics> gather() override;

 private:
  std::vector<Pressure> pressure_of(const ContainerId& id) const;

  OperatorBackend& backend_;
  Containerizer& containerizer_;
  const http::Server& server_;
  const Gatekeeper* const gatekeeper_;  // null: there is no TLS
  const LaunchCounts& launches_;
  const AuditLog& audit_log_;
  const int64_t started_ns_;    // since the epoch
  const int64_t monotonic_ns_;  // then
};
}  // namespace gantry
