// Checkpoints of whole containers on one host: joins a Containerizer's containers to a
// Checkpointer's processes. A checkpoint is a directory DATA/checkpoints/NAME; the writable layer
// stays with the container, and a checkpoint goes with it. What a restored container may have comes
// from its own record, never from the images.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpointer.h"
#include "containerizer/containerizer.h"

namespace gantry {
struct CheckpointRun {
  std::string name;  // of the checkpoint; one component; empty: made up
  bool leave_running = false, tcp_established = false, file_locks = false;
};

class ContainerCheckpoints {
 public:
  // What of a container's request no GANTRY_UPDATE changes: it is the same when a checkpoint of it
  // is restored.
  using Identity = std::function<std::string(const std::string& request_bytes)>;
  // `data_dir`: checkpoints/ below it, made when missing. All outlive it.
  ContainerCheckpoints(std::string data_dir, Containerizer& containerizer,
                       Checkpointer& checkpointer, Identity identity)
      : directory_(std::move(data_dir) + "/checkpoints"),
        containerizer_(containerizer),
        checkpointer_(checkpointer),
        identity_(std::move(identity)) {}

  struct Made {
    std::string name;
    CheckpointStats stats;
  };
  // Once, after the containers are recovered: finishes or removes what an earlier executor left.
  Co<Result<void>> recover();

  // Errc::already_exists when there is one of that name.
  Co<Result<Made>> checkpoint(ContainerId id, CheckpointRun run);
  struct Restored {
    ContainerId id;
    std::chrono::microseconds total;
    std::vector<StepTime> steps;
  };
  // `text`: a checkpoint's name, or a container's name or id: its newest.
  Co<Result<Restored>> restore(std::string text, CheckpointRun options);
  // Removes all that were made of this container.
  Co<Result<void>> forget(ContainerId id);
  // The id of the container a checkpoint was made of.
  Co<Result<std::string>> owner_of(std::string text);
  // Of this container's, oldest first.
  Co<std::vector<std::string>> names_of(ContainerId id) const;
  // That `container` has no checkpoint `wanted` (empty: none at all), and which it has.
  Co<Error> missing(ContainerPtr container, std::string wanted) const;
  // The version of the CRIU that would be used; an error says why none can be.
  Co<Result<std::string>> check() { return checkpointer_.check(); }
  std::string path_of(const std::string& name) const { return directory_ + "/" + name; }

 private:
  Co<Result<std::string>> find(std::string text) const;
  std::vector<std::string> names() const;  // sorted; unfinished ones too
  std::string directory_;
  Containerizer& containerizer_;
  Checkpointer& checkpointer_;
  Identity identity_;
};
}  // namespace gantry
