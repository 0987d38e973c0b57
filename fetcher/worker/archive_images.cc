#include "fetcher/worker/archive_images.h"

#include <algorithm>

#include "fetcher/worker/layer_view.h"

namespace gantry::worker {
namespace {
constexpr int kMaxIndexDepth = 4;

bool is_index(std::string_view type) {
  return type == oci::media::kIndex || type == oci::media::kDockerList;
}

std::string_view layer_type(Compression compression) {
  switch (compression) {
    case Compression::gzip:
      return oci::media::kLayerGzip;
    case Compression::zstd:
      return oci::media::kLayerZstd;
    case Compression::none:
    case Compression::other:
      break;
  }
  return oci::media::kLayer;
}

// The blob a descriptor names, and its bytes as long as they were announced.
Result<Blob> blob_of(const oci::Descriptor& descriptor, const Staging& staging) {
  const Blob* blob = staging.find(descriptor.digest);
  if (blob == nullptr) {
    return Error(Errc::corrupt,
                 cat("blob ", descriptor.digest.to_string(), " is missing or damaged"));
  }
  if (blob->size != descriptor.size) {
    return Error(Errc::corrupt, cat("blob ", descriptor.digest.to_string(), " has ", blob->size,
                                    " bytes, but its descriptor says ", descriptor.size));
  }
  return *blob;
}

Result<void> check_platform(const oci::ImageConfig& config) {
  bool os = config.os.empty() || config.os == "linux";
  bool cpu = config.architecture.empty() || config.architecture == oci::host_architecture();
  if (os && cpu) return {};
  return Error(Errc::unsupported, cat("the image is for ", config.os.substr(0, 40), "/",
                                      config.architecture.substr(0, 40), "; this host runs linux/",
                                      oci::host_architecture()));
}

Result<void> check_layers(const StoredImage& image) {
  if (image.layers.size() != image.config.diff_ids.size()) {
    return Error(Errc::invalid,
                 cat("the manifest has ", image.layers.size(), " layers, but the config has ",
                     image.config.diff_ids.size(), " diff_ids"));
  }
  return check_platform(image.config);
}

Result<StoredImage> image_of_manifest(const oci::Descriptor& descriptor, const Staging& staging) {
  Blob blob = GANTRY_TRY(blob_of(descriptor, staging));
  std::string text = GANTRY_TRY(staging.read(blob, oci::kMaxManifestBytes));
  oci::Manifest manifest = GANTRY_TRY(oci::parse_manifest(text));
  if (!manifest.media_type.empty() && manifest.media_type != descriptor.media_type) {
    return Error(Errc::invalid, "the manifest's mediaType differs from its descriptor's");
  }
  Blob config_blob = GANTRY_TRY(blob_of(manifest.config, staging));
  std::string config = GANTRY_TRY(staging.read(config_blob, oci::kMaxConfigBytes));
  StoredImage out{{},
                  std::move(blob),
                  std::move(config_blob),
                  descriptor.media_type,
                  {},
                  GANTRY_TRY(oci::parse_image_config(config))};
  for (const oci::Descriptor& layer : manifest.layers) {
    out.layers.push_back(GANTRY_TRY(blob_of(layer, staging)));
  }
  GANTRY_TRY(check_layers(out));
  return out;
}

// An index inside an index is another choice of platform.
Result<StoredImage> image_of(oci::Descriptor descriptor, const Staging& staging) {
  for (int depth = 0; is_index(descriptor.media_type); ++depth) {
    if (depth >= kMaxIndexDepth) return Error(Errc::invalid, "image indexes nest too deeply");
    Blob blob = GANTRY_TRY(blob_of(descriptor, staging));
    std::string text = GANTRY_TRY(staging.read(blob, oci::kMaxManifestBytes));
    descriptor = GANTRY_TRY(oci::choose_platform(GANTRY_TRY(oci::parse_index(text))));
  }
  return image_of_manifest(descriptor, staging);
}

std::string name_of(const oci::Descriptor& entry) {
  for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
    auto it = entry.annotations.find(key);
    if (it != entry.annotations.end()) return it->second;
  }
  return {};
}

Result<std::vector<StoredImage>> images_of_layout(const ArchiveMembers& members, Staging& staging) {
  GANTRY_TRY(oci::check_layout_file(GANTRY_TRY(members.text("oci-layout", 64u << 10))));
  std::string text = GANTRY_TRY(members.text("index.json", oci::kMaxManifestBytes));
  oci::Index index = GANTRY_TRY(oci::parse_index(text));
  // Entries of one name are one image for several platforms.
  std::map<std::string, oci::Index> by_name;
  for (const oci::Descriptor& entry : index.manifests) {
    by_name[name_of(entry)].manifests.push_back(entry);
  }
  std::vector<StoredImage> out;
  for (const auto& [name, entries] : by_name) {
    StoredImage image = GANTRY_TRY(image_of(GANTRY_TRY(oci::choose_platform(entries)), staging)
                                       .context("image '", name.substr(0, 100), "'"));
    // A bare tag, as skopeo and umoci write it, names no image.
    if (name.find_first_of(":/") != std::string::npos) image.references.push_back(name);
    out.push_back(std::move(image));
  }
  if (out.empty()) return Error(Errc::invalid, "index.json names no image");
  return out;
}

Result<StoredImage> image_of_docker(const oci::DockerArchiveImage& source,
                                    const ArchiveMembers& members, Staging& staging) {
  Blob config_blob = GANTRY_TRY(members.document(source.config_path));
  std::string text = GANTRY_TRY(staging.read(config_blob, oci::kMaxConfigBytes));
  oci::Manifest manifest{
      std::string(oci::media::kManifest),
      {std::string(oci::media::kConfig), config_blob.digest, config_blob.size, {}, {}},
      {}};
  std::vector<Blob> layers;
  for (const std::string& path : source.layer_paths) {
    Blob layer = GANTRY_TRY(members.follow(path));
    std::string head = GANTRY_TRY(staging.head(layer, 16));
    if (detect_compression(head) == Compression::other) {
      return Error(Errc::unsupported,
                   cat("the layer ", path.substr(0, 200),
                       " is compressed with xz or bzip2, which no image's layer can be"));
    }
    manifest.layers.push_back(
        {std::string(layer_type(detect_compression(head))), layer.digest, layer.size, {}, {}});
    layers.push_back(std::move(layer));
  }
  Blob blob = GANTRY_TRY(staging.add_bytes(oci::write_manifest(manifest)));
  StoredImage out{source.repo_tags,       std::move(blob),
                  std::move(config_blob), manifest.media_type,
                  std::move(layers),      GANTRY_TRY(oci::parse_image_config(text))};
  GANTRY_TRY(check_layers(out));
  return out;
}
}  // namespace

Fields describe(const StoredImage& image) {
  Fields out;
  for (const std::string& name : image.references) out.add("reference", name);
  out.add("manifest", image.manifest.digest.to_string());
  out.add_number("manifest.size", image.manifest.size);
  out.add("manifest.type", image.manifest_type);
  out.add("config", image.config_blob.digest.to_string());
  for (const Blob& layer : image.layers) {
    out.add("layer", layer.digest.to_string());
    out.add_number("layer.size", layer.size);
  }
  add_image_config(out, image.config);
  return out;
}

void ArchiveMembers::add_file(const std::string& path, Blob blob) {
  links_.erase(path);
  files_.insert_or_assign(path, std::move(blob));
}

void ArchiveMembers::add_link(const std::string& path, bool is_symbolic,
                              const std::string& target) {
  std::string base;
  if (is_symbolic && !target.starts_with('/')) {
    size_t slash = path.rfind('/');
    if (slash != std::string::npos) base = path.substr(0, slash + 1);
  }
  files_.erase(path);
  links_[path] = join(clean_components(base + target));
}

bool ArchiveMembers::looks_like_an_image() const {
  return (has("oci-layout") && has("index.json")) || has("manifest.json");
}

Result<Blob> ArchiveMembers::document(const std::string& path) const {
  auto it = files_.find(join(clean_components(path)));
  if (it == files_.end()) {
    return Error(Errc::invalid, cat("the archive has no regular file ", path.substr(0, 200)));
  }
  return it->second;
}

Result<Blob> ArchiveMembers::follow(const std::string& path) const {
  std::string at = join(clean_components(path));
  for (int hops = 0; hops < 10; ++hops) {
    auto it = links_.find(at);
    if (it == links_.end()) break;
    at = it->second;
  }
  return document(at);
}

Result<std::string> ArchiveMembers::text(const std::string& path, size_t cap) const {
  return staging_.read(GANTRY_TRY(document(path)), cap).context(path);
}

Result<std::vector<StoredImage>> images_of_archive(const ArchiveMembers& members,
                                                   Staging& staging) {
  // docker ≥ 25 writes both; the layout is complete and carries digests.
  if (members.has("oci-layout") && members.has("index.json")) {
    return images_of_layout(members, staging);
  }
  if (!members.has("manifest.json")) {
    return Error(Errc::invalid,
                 "it has parts of an image, but neither oci-layout with index.json nor "
                 "manifest.json");
  }
  std::string text = GANTRY_TRY(members.text("manifest.json", oci::kMaxManifestBytes));
  std::vector<StoredImage> out;
  for (const auto& image : GANTRY_TRY(oci::parse_docker_manifest(text))) {
    out.push_back(GANTRY_TRY(image_of_docker(image, members, staging)));
  }
  return out;
}

Result<StoredImage> image_of_root(const Blob& layer, Compression compression,
                                  const oci::Digest& diff_id, oci::ImageConfig config,
                                  Staging& staging) {
  config.os = "linux";
  config.architecture = oci::host_architecture();
  config.diff_ids = {diff_id};
  Blob config_blob = GANTRY_TRY(staging.add_bytes(oci::write_image_config(config)));
  oci::Manifest manifest{
      std::string(oci::media::kManifest),
      {std::string(oci::media::kConfig), config_blob.digest, config_blob.size, {}, {}},
      {{std::string(layer_type(compression)), layer.digest, layer.size, {}, {}}}};
  Blob blob = GANTRY_TRY(staging.add_bytes(oci::write_manifest(manifest)));
  return StoredImage{{},      std::move(blob),  std::move(config_blob), manifest.media_type,
                     {layer}, std::move(config)};
}
}  // namespace gantry::worker
