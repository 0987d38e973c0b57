// TlsDoor: the APIs over TCP, for those who prove who they are (--listen-tls).
//
// Threads: loop only. Lifetime: outlives the server that serves by it.
#pragma once

#include <memory>

#include "executor/config.h"
#include "executor/gatekeeper.h"
#include "executor/http/tls.h"

namespace gantry {
class TlsDoor {
 public:
  // Reads certificate, key, CA and token. `inside` must outlive it.
  static Result<std::unique_ptr<TlsDoor>> open(const Config& config, http::Handler& inside);
  // Reads them anew; where one cannot be used, what was counts on.
  Result<void> reload();

  http::TlsContext& context() { return *context_; }
  Gatekeeper& gatekeeper() { return gatekeeper_; }

 private:
  TlsDoor(const Config& config, std::unique_ptr<http::TlsContext> context, http::Handler& inside)
      : config_(config), context_(std::move(context)), gatekeeper_(inside) {}
  Result<void> load_token();

  const Config& config_;
  std::unique_ptr<http::TlsContext> context_;
  Gatekeeper gatekeeper_;
};
}  // namespace gantry
