// Router: one handler for each path.
#pragma once

#include <map>
#include <string>

#include "executor/http/exchange.h"

namespace gantry::http {
class Router final : public Handler {
 public:
  // `handler` must outlive the router. A path is whole: "/api/v1" does not cover "/api/v1/x".
  void add(std::string path, Handler& handler) { routes_[std::move(path)] = &handler; }

  Co<Response> handle(Exchange& exchange) override {
    auto it = routes_.find(exchange.request().path);
    if (it == routes_.end()) {
      co_return Response::text(404, cat("There is nothing at ", exchange.request().path));
    }
    co_return co_await it->second->handle(exchange);
  }

 private:
  std::map<std::string, Handler*, std::less<>> routes_;
};
}  // namespace gantry::http
