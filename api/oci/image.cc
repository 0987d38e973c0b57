#include "api/oci/image.h"

#include <algorithm>

#include "api/oci/json_view.h"

namespace gantry::oci {
namespace {
Result<JsonView> root_of(rapidjson::Document& document, std::string_view json,
                         std::string_view what, size_t max_bytes) {
  GANTRY_TRY(parse_json(document, json, what, max_bytes));
  JsonView root(&document, cat(what, ": "));
  if (!document.IsObject()) return Error(Errc::invalid, cat(what, ": is not a JSON object"));
  return root;
}

Result<std::string> text_of(const JsonView& object, const char* name) {
  return GANTRY_TRY(object.member(name)).text();
}

Result<Descriptor> parse_descriptor(const JsonView& view) {
  if (view.absent()) return view.wrong("is missing");
  Digest digest = GANTRY_TRY(
      Digest::parse(GANTRY_TRY(text_of(view, "digest"))).context(cat(view.path(), ".digest")));
  Descriptor out{GANTRY_TRY(text_of(view, "mediaType")), std::move(digest), 0, {}, {}};
  out.size = GANTRY_TRY(GANTRY_TRY(view.member("size")).number());
  if (out.size > (1ull << 50)) return view.wrong("has an absurd size");
  out.annotations = GANTRY_TRY(GANTRY_TRY(view.member("annotations")).text_map());
  JsonView platform = GANTRY_TRY(view.member("platform"));
  if (!platform.absent()) {
    out.platform =
        Platform{GANTRY_TRY(text_of(platform, "os")), GANTRY_TRY(text_of(platform, "architecture")),
                 GANTRY_TRY(text_of(platform, "variant"))};
  }
  return out;
}

// CVE-2021-41190: one document must not be readable as both an index and a manifest.
Result<void> check_unambiguous(const JsonView& root, std::initializer_list<const char*> foreign,
                               std::initializer_list<std::string_view> media_types) {
  for (const char* name : foreign) {
    if (!GANTRY_TRY(root.member(name)).absent()) {
      return root.wrong(cat("has '", name, "', which belongs to another kind of document"));
    }
  }
  std::string media_type = GANTRY_TRY(text_of(root, "mediaType"));
  if (!media_type.empty() && std::ranges::find(media_types, media_type) == media_types.end()) {
    return root.wrong(cat("has mediaType '", media_type.substr(0, 100), "'"));
  }
  uint64_t version = GANTRY_TRY(GANTRY_TRY(root.member("schemaVersion")).number());
  if (version != 2) return root.wrong(cat("has schemaVersion ", version, "; only 2 is supported"));
  return {};
}

Result<HealthCheck> parse_health(const JsonView& view) {
  HealthCheck out;
  out.test = GANTRY_TRY(GANTRY_TRY(view.member("Test")).texts());
  out.interval_ns = GANTRY_TRY(GANTRY_TRY(view.member("Interval")).number());
  out.timeout_ns = GANTRY_TRY(GANTRY_TRY(view.member("Timeout")).number());
  out.start_period_ns = GANTRY_TRY(GANTRY_TRY(view.member("StartPeriod")).number());
  out.start_interval_ns = GANTRY_TRY(GANTRY_TRY(view.member("StartInterval")).number());
  out.retries = GANTRY_TRY(GANTRY_TRY(view.member("Retries")).number());
  return out;
}

bool is_index_type(std::string_view type) {
  return type == media::kIndex || type == media::kDockerList;
}
bool is_manifest_type(std::string_view type) {
  return type == media::kManifest || type == media::kDockerManifest;
}
}  // namespace

Result<ImageConfig> parse_image_config(std::string_view json) {
  rapidjson::Document document;
  JsonView root = GANTRY_TRY(root_of(document, json, "image config", kMaxConfigBytes));
  ImageConfig out;
  out.os = GANTRY_TRY(text_of(root, "os"));
  out.architecture = GANTRY_TRY(text_of(root, "architecture"));
  out.variant = GANTRY_TRY(text_of(root, "variant"));
  out.created = GANTRY_TRY(text_of(root, "created"));
  JsonView rootfs = GANTRY_TRY(root.member("rootfs"));
  if (rootfs.absent()) return rootfs.wrong("is missing");
  if (std::string type = GANTRY_TRY(text_of(rootfs, "type")); type != "layers") {
    return rootfs.wrong(cat("has type '", type.substr(0, 100), "'; only 'layers' is known"));
  }
  JsonView ids = GANTRY_TRY(rootfs.member("diff_ids"));
  for (const JsonView& id : GANTRY_TRY(ids.elements(kMaxLayers))) {
    out.diff_ids.push_back(GANTRY_TRY(Digest::parse(GANTRY_TRY(id.text())).context(id.path())));
  }
  JsonView config = GANTRY_TRY(root.member("config"));
  out.entrypoint = GANTRY_TRY(GANTRY_TRY(config.member("Entrypoint")).texts());
  out.cmd = GANTRY_TRY(GANTRY_TRY(config.member("Cmd")).texts());
  out.env = GANTRY_TRY(GANTRY_TRY(config.member("Env")).texts());
  out.user = GANTRY_TRY(text_of(config, "User"));
  out.working_dir = GANTRY_TRY(text_of(config, "WorkingDir"));
  out.stop_signal = GANTRY_TRY(text_of(config, "StopSignal"));
  out.volumes = GANTRY_TRY(GANTRY_TRY(config.member("Volumes")).keys());
  out.exposed_ports = GANTRY_TRY(GANTRY_TRY(config.member("ExposedPorts")).keys());
  out.labels = GANTRY_TRY(GANTRY_TRY(config.member("Labels")).text_map());
  out.health = GANTRY_TRY(parse_health(GANTRY_TRY(config.member("Healthcheck"))));
  return out;
}

Result<Manifest> parse_manifest(std::string_view json) {
  rapidjson::Document document;
  JsonView root = GANTRY_TRY(root_of(document, json, "image manifest", kMaxManifestBytes));
  GANTRY_TRY(check_unambiguous(root, {"manifests", "fsLayers"},
                               {media::kManifest, media::kDockerManifest}));
  Manifest out{GANTRY_TRY(text_of(root, "mediaType")),
               GANTRY_TRY(parse_descriptor(GANTRY_TRY(root.member("config")))),
               {}};
  JsonView layers = GANTRY_TRY(root.member("layers"));
  for (const JsonView& layer : GANTRY_TRY(layers.elements(kMaxLayers))) {
    out.layers.push_back(GANTRY_TRY(parse_descriptor(layer)));
  }
  if (out.layers.empty()) return layers.wrong("has no layer");
  return out;
}

Result<Index> parse_index(std::string_view json) {
  rapidjson::Document document;
  JsonView root = GANTRY_TRY(root_of(document, json, "image index", kMaxManifestBytes));
  GANTRY_TRY(check_unambiguous(root, {"layers", "config", "fsLayers"},
                               {media::kIndex, media::kDockerList}));
  Index out;
  JsonView manifests = GANTRY_TRY(root.member("manifests"));
  for (const JsonView& entry : GANTRY_TRY(manifests.elements(1000))) {
    std::string type = GANTRY_TRY(text_of(entry, "mediaType"));
    if (!is_index_type(type) && !is_manifest_type(type)) continue;
    out.manifests.push_back(GANTRY_TRY(parse_descriptor(entry)));
  }
  return out;
}

Result<std::vector<DockerArchiveImage>> parse_docker_manifest(std::string_view json) {
  rapidjson::Document document;
  GANTRY_TRY(parse_json(document, json, "manifest.json", kMaxManifestBytes));
  JsonView root(&document, "manifest.json: ");
  std::vector<DockerArchiveImage> out;
  for (const JsonView& image : GANTRY_TRY(root.elements(1000))) {
    if (image.absent()) return image.wrong("is not an object");
    out.push_back({GANTRY_TRY(text_of(image, "Config")),
                   GANTRY_TRY(GANTRY_TRY(image.member("RepoTags")).texts()),
                   GANTRY_TRY(GANTRY_TRY(image.member("Layers")).texts())});
    if (out.back().layer_paths.size() > kMaxLayers) return image.wrong("has too many layers");
    if (out.back().layer_paths.empty()) return image.wrong("has no layer");
  }
  if (out.empty()) return root.wrong("names no image");
  return out;
}

Result<void> check_layout_file(std::string_view json) {
  rapidjson::Document document;
  JsonView root = GANTRY_TRY(root_of(document, json, "oci-layout", 64u << 10));
  std::string version = GANTRY_TRY(text_of(root, "imageLayoutVersion"));
  if (!version.starts_with("1.")) {
    return root.wrong(cat("has imageLayoutVersion '", version.substr(0, 40), "', not 1.x"));
  }
  return {};
}

std::string_view host_architecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__riscv)
  return "riscv64";
#else
  return "unknown";
#endif
}

Result<Descriptor> choose_platform(const Index& index) {
  const Descriptor* unnamed = nullptr;
  std::string offered;
  for (const Descriptor& entry : index.manifests) {
    if (!entry.platform || entry.platform->architecture.empty()) {
      if (unnamed == nullptr) unnamed = &entry;
      continue;
    }
    const Platform& p = *entry.platform;
    if (p.os == "linux" && p.architecture == host_architecture()) return entry;
    offered +=
        cat(offered.empty() ? "" : ", ", p.os.substr(0, 20), "/", p.architecture.substr(0, 20));
  }
  if (unnamed != nullptr) return *unnamed;
  if (index.manifests.empty()) return Error(Errc::invalid, "image index: names no image");
  return Error(Errc::unsupported, cat("image index: no image for linux/", host_architecture(),
                                      "; it has ", offered.substr(0, 300)));
}
}  // namespace gantry::oci
