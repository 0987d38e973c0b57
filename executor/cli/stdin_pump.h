// Our stdin to a container's, without blocking and without loss.
//
// The executor hands over the pipe itself (ATTACH_CONTAINER_INPUT with gantry_hand_over): what was
// written is in the container's pipe and what was not is still here, whenever an executor dies. The
// connection only keeps others out and says the end; after an executor's death another is attached.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "executor/cli/http_client.h"
#include "executor/cli/session.h"

namespace gantry::cli {
class StdinPump {
 public:
  explicit StdinPump(ContainerRef container) : container_(std::move(container)) {}

  // Attaches by way of a fresh connection: first, and again after the last one broke.
  Result<void> attach(Connection connection);
  // Over: the container takes no more (it ended or closed its stdin), or all was said.
  bool is_done() const { return is_done_; }
  // What to poll for before the next step().
  std::vector<pollfd> wanted() const;
  // Moves what can be moved without blocking.
  void step();

 private:
  void read_answer();
  void read_stdin();
  void write_pipe();
  void say_end();

  const ContainerRef container_;
  std::optional<Connection> connection_;  // empty: the executor is gone
  UniqueFd pipe_;                         // the container's stdin; empty: not handed over yet
  std::string pending_;                   // read, not yet written
  bool at_end_ = false;                   // our stdin ended
  bool has_ended_pipe_ = false;           // and all of it was written
  bool is_done_ = false;
};
}  // namespace gantry::cli
