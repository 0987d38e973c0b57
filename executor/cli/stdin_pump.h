// Our stdin to a container's, without blocking and without loss; of a terminal the size too.
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
#include "executor/cli/terminal.h"

namespace gantry::cli {
class StdinPump {
 public:
  enum class Kind {
    pipe,
    terminal,  // ours is one, and so is the container's
    sizes,     // of the container's terminal; our stdin is not passed on
  };
  StdinPump(ContainerRef container, Kind kind, DetachKeys keys)
      : container_(std::move(container)),
        kind_(kind),
        keys_(std::move(keys)),
        at_end_(kind == Kind::sizes) {}

  // Attaches by way of a fresh connection: first, and again after the last one broke.
  Result<void> attach(Connection connection);
  // Over: the container takes no more (it ended or closed its stdin), or all was said.
  bool is_done() const { return is_done_; }
  // Somebody else has the container's input.
  bool is_refused() const { return is_refused_; }
  // The detach keys were typed.
  bool is_detached() const { return is_detached_; }
  // Ours has changed.
  void resize();
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
  const Kind kind_;
  DetachKeys keys_;
  std::optional<Connection> connection_;  // empty: the executor is gone
  UniqueFd pipe_;                         // the container's stdin; empty: not handed over yet
  std::string pending_;                   // read, not yet written
  bool at_end_ = false;                   // our stdin ended
  bool has_ended_pipe_ = false;           // and all of it was written
  bool is_done_ = false;
  bool is_refused_ = false;
  bool is_detached_ = false;
};
}  // namespace gantry::cli
