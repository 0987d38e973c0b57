// Trash: trees that are gone for everybody but the disk. discard() renames a tree into the trash
// directory, which is instant and atomic; gantry-worker empties the directory soon after, many
// trees with one process. Recovery: what a killed executor left in the directory is emptied at
// start. Threads: loop only.
#pragma once

#include <string>
#include <string_view>

#include "base/co.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/unique_fd.h"
#include "fetcher/worker_client.h"

namespace gantry {
class Trash {
 public:
  // `directory` is a directory of ours, on the file system of what will be discarded.
  Trash(asio::any_io_executor executor, WorkerClient& worker, std::string directory);

  // Once the directory exists, before anything is discarded.
  Result<void> open();
  // Missing is success. Errc::busy when something is mounted on it.
  Result<void> discard(int parent_fd, std::string_view name);
  // Empties the directory in the background if anything is in it. Called by discard().
  void schedule();
  // Waits until it is empty (or cannot be emptied now).
  Co<void> drain();
  // Waits a little for what is being removed, then ends.
  Co<void> close();

 private:
  Co<void> empty();

  WorkerClient& worker_;
  std::string directory_;
  UniqueFd fd_;
  uint64_t next_ = 0;
  bool running_ = false, wanted_ = false;
  Event wake_, idle_;
  Scope scope_;
};
}  // namespace gantry
