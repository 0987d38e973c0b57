// LayoutStore: the ImageStore whose DATA/images is a valid OCI image layout that other tools read.
//
// The commit mark of an image is its record in DATA/catalog (fsynced, renamed); index.json is
// derived from the records and rewritten with each change. Blobs come first, so whatever is named
// is there. Loop only; changes one at a time. Recovery: load() reads the records; a blob without a
// record is garbage of an import that was killed, and goes with the next removal.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/turns.h"
#include "provisioner/image_store.h"
#include "provisioner/layer_store.h"

namespace gantry {
struct StoreLimits {
  UnpackLimits unpack;
  std::chrono::seconds stall{120};
  Duration save = std::chrono::hours(24);  // a client that reads slowly harms nobody
};

// An image as its record has it.
struct CatalogEntry {
  ImageInfo info;
  std::string manifest_type;
  uint64_t manifest_size = 0;
  std::vector<std::pair<oci::Digest, uint64_t>> layers;  // blobs and their sizes, bottom first
  std::vector<oci::Digest> chains;                       // bottom first
  std::string request_id;                                // of the commit that made it
};
std::string encode_entry(const CatalogEntry& entry);
Result<CatalogEntry> decode_entry(std::string_view record);

class LayoutStore final : public ImageStore {
 public:
  // data_dir/{images,catalog,staging} exist or are made by load().
  LayoutStore(asio::any_io_executor executor, WorkerClient& worker, Trash& trash,
              LayerStore& layers, std::string data_dir, StoreLimits limits);
  Result<void> load();

  Co<Result<std::vector<ImageInfo>>> ingest(UniqueFd stream, std::string name,
                                            std::optional<oci::ImageConfig> config,
                                            IngestOnly only) override;
  Co<Result<ImageInfo>> commit(CommitRequest request, RunJob run) override;
  Co<Result<void>> save(std::vector<ImageRef> references, UniqueFd output) override;
  Result<ImageInfo> get(const ImageRef& reference) const override;
  std::vector<ImageInfo> list() const override;
  Result<ImageContent> content(const ImageRef& reference) const override;
  Co<Result<void>> tag(ImageRef image, ImageRef name) override;
  Co<Result<void>> remove(ImageRef reference) override;

  // What a root of the image stands on, at once; Errc::busy while layers have to be unpacked first.
  Result<SnapshotParent> parent(const ImageInfo& image) const;
  // Unpacks what is missing (damaged layers, an interrupted import).
  Co<Result<void>> ensure_layers(oci::Digest image);
  // Removes blobs and layers of no image: leftovers of imports that were killed or failed.
  Result<void> collect_garbage() { return remove_unneeded(entries_); }
  // By the first digits of a manifest's digest.
  Result<ImageInfo> find_by_prefix(std::string_view digits) const;
  // Whether remove(reference) would take the image itself away.
  Result<bool> is_last_name(const ImageRef& reference) const;

 private:
  using Entries = std::map<std::string, std::shared_ptr<const CatalogEntry>>;  // by manifest's hex
  struct Naming {
    std::optional<ImageRef> name;
    std::string request_id;
  };
  // Runs a job that leaves blobs in a directory of its own, and takes them into the store.
  Co<Result<std::vector<ImageInfo>>> stage(WorkerRequest request, RunJob run, Naming naming);
  Co<Result<std::vector<ImageInfo>>> admit(Fields answer, std::string staged, Naming naming);
  // What was made for a request already; nullptr: nothing.
  const CatalogEntry* made_for(std::string_view request_id) const;
  Co<Result<void>> unpack_missing(std::shared_ptr<const CatalogEntry> entry, std::string staged);
  Result<UniqueFd> open_blob(const oci::Digest& digest, const std::string& staged) const;
  Co<Result<void>> publish(Entries next);
  Result<void> write_catalog(const Entries& before, const Entries& next) const;
  Result<void> move_blobs(const std::string& staged, const std::vector<std::string>& names) const;
  Result<void> remove_unneeded(const Entries& next);
  Result<const CatalogEntry*> find(const ImageRef& reference) const;

  WorkerClient& worker_;
  Trash& trash_;
  LayerStore& layers_;
  std::string data_dir_;
  StoreLimits limits_;
  Turns turns_;  // one: adding and removing images
  UniqueFd images_fd_, catalog_fd_, blobs_fd_;
  Entries entries_;
  std::map<std::string, std::string, std::less<>> names_;  // "busybox:latest" → manifest's hex
  uint64_t next_ = 0;
};
}  // namespace gantry
