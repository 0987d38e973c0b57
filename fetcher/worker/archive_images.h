// Which images an archive holds: an OCI layout, `docker save`, or nothing but a root file system.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/oci/image.h"
#include "base/result.h"
#include "fetcher/image_fields.h"
#include "fetcher/worker/input.h"
#include "fetcher/worker/staging.h"

namespace gantry::worker {
// An image whose blobs are all in the staging directory, digests and sizes checked.
struct StoredImage {
  std::vector<std::string> references;  // as the archive names it; unchecked
  Blob manifest, config_blob;
  std::string manifest_type;
  std::vector<Blob> layers;  // bottom first
  oci::ImageConfig config;
};

// The files of an archive by path.
class ArchiveMembers {
 public:
  explicit ArchiveMembers(const Staging& staging) : staging_(staging) {}
  // A later member of the same name wins, as with every tar.
  void add_file(const std::string& path, Blob blob);
  void add_link(const std::string& path, bool is_symbolic, const std::string& target);
  size_t size() const { return files_.size() + links_.size(); }
  bool looks_like_an_image() const;
  bool has(const std::string& path) const { return files_.contains(path); }
  // Documents must be regular members (a link could name anything); layers may be links to layers.
  Result<Blob> document(const std::string& path) const;
  Result<Blob> follow(const std::string& path) const;
  Result<std::string> text(const std::string& path, size_t cap) const;

 private:
  const Staging& staging_;
  std::map<std::string, Blob> files_;
  std::map<std::string, std::string> links_;
};

// As the store takes it (decode_entry).
Fields describe(const StoredImage& image);

Result<std::vector<StoredImage>> images_of_archive(const ArchiveMembers& members, Staging& staging);
// A one-layer image around the tar of a root file system; `config` is what it is to say.
Result<StoredImage> image_of_root(const Blob& layer, Compression compression,
                                  const oci::Digest& diff_id, oci::ImageConfig config,
                                  Staging& staging);
}  // namespace gantry::worker
