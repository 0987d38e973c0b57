// Operations on trees with a tenant's content, each in a gantry-worker: no thread of the executor
// walks them. `parent` is an absolute path of ours, `name` one component below it.
#pragma once

#include <cstdint>
#include <string>

#include "base/co.h"
#include "base/result.h"
#include "fetcher/worker_client.h"

namespace gantry {
struct TreeUsage {
  uint64_t bytes = 0;  // on disk; a file with several links counts once
  uint64_t inodes = 0;
};
// Missing is success. Never follows a link; refuses to cross a mount (Errc::busy names it).
Co<Result<void>> remove_tree(WorkerClient& worker, std::string parent, std::string name,
                             Duration limit = std::chrono::minutes(10));
Co<Result<TreeUsage>> measure_tree(WorkerClient& worker, std::string parent, std::string name,
                                   Duration limit = std::chrono::minutes(2));
// Detaches the mount at an absolute path of the host; not mounted is success. For dead NFS and
// FUSE.
Co<Result<void>> unmount(WorkerClient& worker, std::string path,
                         Duration limit = std::chrono::seconds(30));
}  // namespace gantry
