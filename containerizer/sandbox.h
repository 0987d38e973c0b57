// A container's sandbox: DATA/sandboxes/NAME, where its output files are and fetched URIs go, and
// the working directory of command tasks. Tenants may write into it, so nothing of ours is read
// from it and its removal beyond our own two files is gantry-worker's.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/co.h"
#include "base/result.h"
#include "fetcher/worker_client.h"

namespace gantry {
// Errors when it exists: names are unique while a record lives.
Result<void> create_sandbox(const std::string& path, uid_t uid, gid_t gid);
// Missing is success.
Co<Result<void>> remove_sandbox(WorkerClient& worker, std::string path);
}  // namespace gantry
