// Our stdin to a container's: ATTACH_CONTAINER_INPUT on a connection of its own, without blocking.
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "executor/cli/http_client.h"

namespace gantry::cli {
class StdinPump {
 public:
  static Result<StdinPump> open(Connection connection, const std::string& container_id);
  // What to poll for before the next step().
  std::vector<pollfd> wanted() const;
  // Moves what can be moved without blocking. False: the container takes no more (it ended or
  // closed its stdin), or all was said.
  bool step();

 private:
  explicit StdinPump(Connection connection) : connection_(std::move(connection)) {}
  void queue(const std::string& record);
  bool flush();

  Connection connection_;
  std::string pending_;  // bytes of the request that did not fit yet
  bool at_end_ = false;  // our stdin ended; the last chunk is queued
};
}  // namespace gantry::cli
