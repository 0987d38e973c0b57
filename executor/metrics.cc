#include "executor/metrics.h"

#include "executor/operator_api.h"

namespace gantry {
// The page whose making began after the call: what happened before it is in it.
Co<std::shared_ptr<const std::string>> MetricsEndpoint::page() {
  const uint64_t wanted = begun_ + 1;
  while (made_ < wanted) {
    if (begun_ != made_) {
      co_await made_changed_.wait();
      continue;
    }
    ++begun_;
    HostMetrics host = co_await source_.gather();
    page_ = co_await offload([host = std::move(host)] {
      return std::make_shared<const std::string>(to_prometheus(host, process_metrics()));
    });
    made_ = begun_;
    made_changed_.notify();
  }
  co_return page_;
}

Co<http::Response> MetricsEndpoint::handle(http::Exchange& exchange) {
  if (auto refused = only_get(exchange.request())) co_return std::move(*refused);
  const std::shared_ptr<const std::string> made = co_await page();
  co_return http::Response{200, "text/plain; version=0.0.4; charset=utf-8", *made, {}};
}
}  // namespace gantry
