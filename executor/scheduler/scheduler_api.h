// /api/v1/scheduler over HTTP: Mesos' rules of status codes, stream ids and RecordIO (reference:
// the scheduler HTTP API of Mesos v1).
#pragma once

#include "executor/http/exchange.h"
#include "executor/scheduler/scheduler.h"

namespace gantry {
class SchedulerApi final : public http::Handler {
 public:
  explicit SchedulerApi(Scheduler& scheduler) : scheduler_(scheduler) {}
  Co<http::Response> handle(http::Exchange& exchange) override;

 private:
  Co<http::Response> subscribe(http::Exchange& exchange, FrameworkSpec framework);
  Scheduler& scheduler_;
};
}  // namespace gantry
