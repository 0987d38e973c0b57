// The two SnapshotBackends. Both keep their snapshots in DATA/roots/KEY, named by key.
#pragma once

#include <memory>
#include <string>

#include "fetcher/trash.h"
#include "fetcher/worker_client.h"
#include "provisioner/snapshot_backend.h"

namespace gantry {
// Where a back end works: absolute, existing directories of one file system.
struct BackendDirectories {
  std::string roots;    // one entry per snapshot
  std::string work;     // overlay's workdirs
  std::string staging;  // half-made things; emptied at start
  std::string empty;    // an empty directory, never written
};

// overlayfs: a snapshot is an upper directory and a work directory; two mkdirs.
std::unique_ptr<SnapshotBackend> make_overlay_backend(WorkerClient& worker, Trash& trash,
                                                      BackendDirectories directories);
// Whether the kernel and the file system under `directories` can mount a writable overlay: tried.
Result<void> probe_overlay(const BackendDirectories& directories);

// A full copy of the layers by gantry-worker, for file systems that overlayfs cannot write to. Slow
// and large, but it works everywhere.
std::unique_ptr<SnapshotBackend> make_copy_backend(WorkerClient& worker, Trash& trash,
                                                   BackendDirectories directories);

// Names of the entries of a directory but those that begin with a dot.
Result<std::vector<std::string>> list_directory(const std::string& path);
Result<void> check_snapshot_key(const std::string& key);
}  // namespace gantry
