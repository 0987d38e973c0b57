// An answer with a list that may be long, encoded a few entries at a time, so that the loop is
// given back in between.
#pragma once

#include <string>
#include <string_view>

#include "api/proto/agent.pb.h"
#include "executor/http/exchange.h"
#include "executor/negotiation.h"

namespace gantry {
class GradualAnswer {
 public:
  using Message = wire::agent::Response;
  // The list is `field`.containers.
  GradualAnswer(Encoding encoding, Message::Type type, std::string_view field);
  // A message with the next entries of the list and nothing else.
  void add(const Message& piece);
  http::Response finish();

 private:
  const Encoding encoding_;
  Message head_;
  std::string piece_head_;  // of JSON: what stands before the entries of a piece
  std::string body_;
  bool is_empty_ = true;
};
}  // namespace gantry
