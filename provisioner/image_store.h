// ImageStore: images by digest and name. Content is immutable; an image appears whole or not at
// all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/oci/commit.h"
#include "api/oci/image.h"
#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fetcher/worker_client.h"
#include "provisioner/image_ref.h"

namespace gantry {
struct ImageInfo {
  std::vector<std::string> references;  // "busybox:latest"; may be empty
  oci::Digest digest;                   // of the manifest
  oci::Digest id;                       // of the configuration: docker's image id
  uint64_t size = 0;                    // bytes of its layers in the store (compressed)
  int64_t imported_ns = 0;              // CLOCK_REALTIME
  std::shared_ptr<const oci::ImageConfig> config;
  // In the answer to an import: what the archive calls it, too, and no image can be called.
  std::vector<std::string> refused_names = {};
};

// All that is known of one image.
struct ImageContent {
  ImageInfo info;
  std::string config;                                    // its JSON
  std::vector<std::pair<oci::Digest, uint64_t>> layers;  // blobs and their sizes, bottom first
};

// A container's writable layer, to become an image's.
struct CommitRequest {
  ImageRef base;      // what the container's root stands on
  std::string upper;  // absolute: its layer
  std::string name;   // empty: the image has none
  std::vector<std::string>
      places;  // where something is mounted: what a launch made there is no content
  oci::ImageChanges changes;
  std::string created_by, author, comment;
  std::string request_id;  // empty: none; what was made for it already is the answer
};
enum class IngestOnly { anything, images };
// How a job is run: beside what else has to happen then.
using RunJob = std::function<Co<Result<Fields>>(WorkerRequest)>;

class ImageStore {
 public:
  virtual ~ImageStore() = default;
  // Reads one tar from `stream` to its end: an OCI image layout, `docker save`, or the tar of a
  // root file system (told apart by content; gzip and zstd are fine). `name`, when given, becomes
  // the reference of the (single) image. Several images in the tar are imported together.
  // `only` images: a root file system is Errc::invalid.
  // `config`, when given, is what the image of a root file system says; Errc::invalid for others.
  // The answer's references are those that were given now, if any were.
  virtual Co<Result<std::vector<ImageInfo>>> ingest(UniqueFd stream, std::string name,
                                                    std::optional<oci::ImageConfig> config,
                                                    IngestOnly only) = 0;
  // Errc::not_found says what to do; Errc::conflict when a digest prefix is ambiguous.
  // An image of another one and one more layer. Nothing stays of one that fails.
  virtual Co<Result<ImageInfo>> commit(CommitRequest request, RunJob run) = 0;
  // Writes a tar that ingest() takes to the end of `output`: those images, under these names.
  virtual Co<Result<void>> save(std::vector<ImageRef> references, UniqueFd output) = 0;
  virtual Result<ImageInfo> get(const ImageRef& reference) const = 0;
  virtual std::vector<ImageInfo> list() const = 0;
  virtual Result<ImageContent> content(const ImageRef& reference) const = 0;
  // A further name for an image; the image that had it loses it. Errc::not_found, Errc::invalid.
  virtual Co<Result<void>> tag(ImageRef image, ImageRef name) = 0;
  // Takes the name away; the last name (or a digest) takes the image with it, with every blob and
  // layer that no other image needs. Errc::not_found.
  virtual Co<Result<void>> remove(ImageRef reference) = 0;
};
}  // namespace gantry
