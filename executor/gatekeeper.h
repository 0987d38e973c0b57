// Gatekeeper: who may ask by way of TLS: a client that proved to have a certificate of the client
// CA, or one that says the token.
//
// Threads: loop only.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "base/result.h"
#include "executor/http/exchange.h"

namespace gantry {
class Gatekeeper final : public http::Handler {
 public:
  // `inside` must outlive it.
  explicit Gatekeeper(http::Handler& inside) : inside_(inside) {}
  // From a file that nobody but its owner, root or this process's user, can read; again at a
  // reload.
  Result<void> load_token(const std::string& path);
  uint64_t turned_away() const { return turned_away_; }

  std::optional<http::Response> turn_away(const http::Request& head,
                                          const http::Peer& peer) override;
  Co<http::Response> handle(http::Exchange& exchange) override { return inside_.handle(exchange); }

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest_of(std::string_view token);
  bool says_token(const http::Request& head) const;

  http::Handler& inside_;
  std::optional<Digest> token_;
  uint64_t turned_away_ = 0;
};
}  // namespace gantry
