// Provisioner: image references into root file systems.
//
// Everything below DATA/{images,catalog,layers,roots,work,volumes,staging,trash} is its own.
// Provisioning an image that is in the store costs two mkdirs and no process: it is on the launch
// path. Unpacking, removing and looking into trees is gantry-worker's. Threads: loop only. Failure:
// an operation leaves nothing behind; recover() removes what a killed executor did not finish.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/oci/image.h"
#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fetcher/tree_jobs.h"
#include "fetcher/worker_client.h"
#include "launcher/isolator.h"
#include "provisioner/image_ref.h"
#include "provisioner/image_store.h"

namespace gantry {
struct ImportLimits {
  Bytes max_bytes = 256ull << 30;    // of a stream, and of one uncompressed layer
  uint64_t max_entries = 2'000'000;  // of one layer
  Duration limit = std::chrono::hours(2);
  std::chrono::seconds stall{120};  // no byte from the client for so long: given up
};
struct ProvisionerOptions {
  std::string data_dir;  // absolute
  enum class Backend { automatic, overlay, copy } backend = Backend::automatic;
  ImportLimits import;
};

struct ProvisionedImage {
  Rootfs rootfs;  // snapshot_key names it for remove() and recover()
  std::shared_ptr<const oci::ImageConfig> config;
  std::string digest;  // "sha256:…" of the manifest, for the container's record
};

class Provisioner {
 public:
  virtual ~Provisioner() = default;

  // A writable root for the container; the one it already has when it starts again (same image).
  virtual Co<Result<ProvisionedImage>> provision(ContainerId id, ImageRef image) = 0;
  // Gone after; a container without a snapshot is success.
  virtual Co<Result<void>> remove(ContainerId id) = 0;
  virtual Co<Result<void>> remove(std::string snapshot_key) = 0;
  // Gives every volume without a source (an image's VOLUME, see merge_image_config) a host
  // directory of its own that lives as long as the snapshot, with the owner, mode and content that
  // the image has there. Returns the mounts; at once when there is no such volume.
  virtual Co<Result<std::vector<MountSpec>>> prepare_volumes(std::string snapshot_key,
                                                             std::vector<MountSpec> mounts) = 0;
  // Bytes and inodes of the container's writable layer.
  virtual Co<Result<TreeUsage>> usage(std::string snapshot_key) = 0;

  virtual std::vector<ImageInfo> images() const = 0;
  virtual Result<ImageInfo> image(const ImageRef& reference) const = 0;
  // Streams one tar (ImageStore::ingest) from a pipe, socket or file, to its end. Images imported
  // at once under the same name: the last one has it.
  virtual Co<Result<std::vector<ImageInfo>>> import(UniqueFd stream, std::string name,
                                                    std::optional<oci::ImageConfig> config,
                                                    IngestOnly only) = 0;
  virtual Co<Result<ImageInfo>> commit_image(CommitRequest request, RunJob run) = 0;
  virtual Co<Result<void>> save_images(std::vector<ImageRef> references, UniqueFd output) = 0;
  virtual Result<ImageContent> image_content(const ImageRef& reference) const = 0;
  virtual Co<Result<void>> tag_image(ImageRef image, ImageRef name) = 0;
  // Errc::busy while a container's root stands on it.
  virtual Co<Result<void>> remove_image(ImageRef reference) = 0;

  // The user a container runs as, by the user database inside its root. Numbers are never looked up
  // as names; empty and "0" are root without any lookup. For a running container give
  // Rootfs{Kind::directory, "/proc/PID/root"}.
  virtual Co<Result<Credentials>> resolve_user(Rootfs rootfs, UserSpec user) = 0;

  // Once, before anything else: removes what an earlier executor left half-made and every snapshot
  // whose key is not among `live`.
  virtual Co<Result<void>> recover(std::set<std::string> live_snapshot_keys) = 0;
  // Ends background work; waits for it.
  virtual Co<void> close() = 0;
};

// Makes the directories, loads the index of images. `worker` outlives it.
Result<std::unique_ptr<Provisioner>> open_provisioner(asio::any_io_executor executor,
                                                      WorkerClient& worker,
                                                      ProvisionerOptions options);
}  // namespace gantry
