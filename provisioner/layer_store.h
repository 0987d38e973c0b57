// LayerStore: unpacked layers, each once, by ChainID. A layer is a directory
// DATA/layers/<32 digits of the ChainID>/{fs,facts}; it appears by rename when it is whole.
// Loop only. Recovery: load() knows every whole layer; half-made ones are in DATA/staging.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/oci/digest.h"
#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fetcher/trash.h"
#include "fetcher/worker_client.h"
#include "provisioner/snapshot_backend.h"

namespace gantry {
struct UnpackLimits {
  uint64_t max_bytes;
  uint64_t max_entries;
  Duration limit;
};

class LayerStore {
 public:
  // directory, staging: absolute and existing, on one file system.
  LayerStore(WorkerClient& worker, Trash& trash, std::string directory, std::string staging)
      : worker_(worker),
        trash_(trash),
        directory_(std::move(directory)),
        staging_(std::move(staging)) {}
  Result<void> load();

  bool has(const oci::Digest& chain) const { return layers_.contains(name_of(chain)); }
  // Unpacks a layer's blob over those below it (bottom first). One caller at a time.
  Co<Result<void>> unpack(oci::Digest chain, std::vector<oci::Digest> below, oci::Digest diff_id,
                          UniqueFd blob, UnpackLimits limits);
  // What stands on a chain of layers (bottom first), all of them present.
  SnapshotParent parent_of(const std::vector<oci::Digest>& chains) const;
  // Removes every layer that is not among these.
  Result<void> keep_only(const std::vector<oci::Digest>& chains);

  // The ChainIDs of a stack of DiffIDs, bottom first.
  static std::vector<oci::Digest> chains_of(const std::vector<oci::Digest>& diff_ids);

 private:
  struct Layer {
    bool hides_below;
    mode_t mode;
    uid_t uid;
    gid_t gid;
  };
  static std::string name_of(const oci::Digest& chain) { return chain.hex().substr(0, 32); }
  Result<Layer> read_layer(const std::string& name) const;
  Result<void> commit(const std::string& staged, const std::string& name, const Fields& facts);

  WorkerClient& worker_;
  Trash& trash_;
  std::string directory_, staging_;
  UniqueFd directory_fd_;
  std::map<std::string, Layer> layers_;
  uint64_t next_ = 0;
};
}  // namespace gantry
