// /api/v1/scheduler over HTTP: Mesos' rules of status codes, stream ids and RecordIO (reference:
// the scheduler HTTP API of Mesos v1).
#pragma once

#include "executor/http/exchange.h"
#include "executor/operator_backend.h"
#include "executor/scheduler/scheduler.h"

namespace gantry {
class SchedulerApi final : public http::Handler {
 public:
  // `backend`: whose audit log names what frameworks ask for.
  SchedulerApi(Scheduler& scheduler, OperatorBackend& backend)
      : scheduler_(scheduler), backend_(backend) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  Co<http::Response> subscribe(http::Exchange& exchange, FrameworkSpec framework);
  Co<http::Response> carry_out(const http::Request& request, SchedulerCall call);

  Scheduler& scheduler_;
  OperatorBackend& backend_;
};
}  // namespace gantry
