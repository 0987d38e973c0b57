// A container's sandbox: DATA/sandboxes/NAME, where its output files are and fetched URIs go, and
// the working directory of command tasks. Tenants may write into it, so nothing of ours is read
// from it and its removal beyond our own two files is gantry-worker's.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "fetcher/worker_client.h"

namespace gantry {
// Errors when it exists: names are unique while a record lives.
Result<void> create_sandbox(const std::string& path, uid_t uid, gid_t gid);
// Missing is success.
Co<Result<void>> remove_sandbox(WorkerClient& worker, std::string path);

// Sandboxes of commands (exec), which come and go: a few empty ones are kept, and renamed. To
// remove a directory on disk and to make another costs ten times as much (ext4 looks for an inode
// that was not freed within its last five seconds). What a killed executor leaves of them is
// removed by the next one's recovery, as unknown sandboxes are. Threads: loop only.
class SpareSandboxes {
 public:
  // `directory`: where the sandboxes are.
  explicit SpareSandboxes(std::string directory) : directory_(std::move(directory)) {}
  // As create_sandbox().
  Result<void> take(const std::string& path, uid_t uid, gid_t gid);
  // False: it is not kept, and is still there.
  bool give_back(const std::string& path);
  // Removes them.
  void close();

 private:
  std::string directory_;
  std::vector<std::string> paths_;
  uint64_t next_ = 0;
};
}  // namespace gantry
