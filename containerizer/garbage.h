// Garbage: exited containers that nobody removed (records, logs, writable layers) go, oldest first:
// above a number, beyond an age, and while the data directory's disk is short of room.
//
// Threads: loop only. Lifetime: after Containerizer::recover() until before its close(). Failure:
// what can't be removed is tried again at the next look.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "containerizer/containerizer.h"

namespace gantry {
struct GarbageConfig {
  std::string data_dir;
  size_t most_exited = 20'000;
  std::chrono::seconds oldest_exited{24 * 3600};
  int headroom_percent = 10;  // of the disk's space and inodes; 0: whatever is left
};

class Garbage {
 public:
  Garbage(GarbageConfig config, Containerizer& containerizer, asio::any_io_executor executor);

  // Looks every 10 s, or more often where containers shall not get ten times as old.
  void start() { scope_.spawn(run()); }
  Co<void> close() { return scope_.close(); }
  // Of this executor's life.
  uint64_t collected() const { return collected_; }

 private:
  Co<void> run();
  Co<void> collect();
  // Exited, top-level, and read by nobody; oldest first.
  std::vector<ContainerPtr> candidates() const;
  bool is_disk_short() const;

  GarbageConfig config_;
  Containerizer& containerizer_;
  Scope scope_;
  uint64_t collected_ = 0;
};
}  // namespace gantry
