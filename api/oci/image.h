// OCI and Docker image documents as value types: image configuration, manifest, index, and the
// manifest.json of `docker save`. The bytes are untrusted: parsers are total, iterative, and
// bounded in size, depth and counts. Called in gantry-worker only (and in tests and fuzzers).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/oci/digest.h"
#include "base/result.h"

namespace gantry::oci {
inline constexpr size_t kMaxManifestBytes = 4u << 20;
inline constexpr size_t kMaxConfigBytes = 8u << 20;
inline constexpr size_t kMaxLayers = 127;

namespace media {
inline constexpr std::string_view kIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
}  // namespace media

struct Platform {
  std::string os, architecture, variant;
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
};

// HEALTHCHECK, with docker's meaning of 0: its default.
struct HealthCheck {
  std::vector<std::string> test;  // NONE; CMD, words…; CMD-SHELL, command; empty: there is none
  uint64_t interval_ns = 0, timeout_ns = 0, start_period_ns = 0, start_interval_ns = 0, retries = 0;
  bool operator==(const HealthCheck&) const = default;
};

// What an image says about its process. Untrusted data: labels are for people, never policy.
struct ImageConfig {
  std::vector<std::string> entrypoint, cmd;
  std::vector<std::string> env;  // NAME=VALUE, as in the image
  std::string user, working_dir, stop_signal;
  std::vector<std::string> volumes;        // paths in the container, as in the image
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::map<std::string, std::string> labels;
  HealthCheck health;
  std::string os, architecture, variant, created;
  std::vector<Digest> diff_ids;  // bottom first
  bool operator==(const ImageConfig&) const = default;
};

struct Manifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
};

struct Index {
  std::vector<Descriptor> manifests;  // entries of unknown media type are left out
};

struct DockerArchiveImage {
  std::string config_path;
  std::vector<std::string> repo_tags;
  std::vector<std::string> layer_paths;
};

// Errors name the field, e.g. "image config: config.Env[3]: is not a string".
Result<ImageConfig> parse_image_config(std::string_view json);
Result<Manifest> parse_manifest(std::string_view json);
Result<Index> parse_index(std::string_view json);
Result<std::vector<DockerArchiveImage>> parse_docker_manifest(std::string_view json);
// Refuses a file whose imageLayoutVersion is not 1.x.
Result<void> check_layout_file(std::string_view json);

// The entry an image runner on this machine takes: linux, our architecture (or none given), first
// match in order; attestations ("unknown/unknown") never.
Result<Descriptor> choose_platform(const Index& index);
// GOARCH's name for this machine: "amd64", "arm64" …
std::string_view host_architecture();

std::string write_manifest(const Manifest& manifest);
std::string write_index(const Index& index);
// The manifest.json of `docker save`.
std::string write_docker_manifest(const std::vector<DockerArchiveImage>& images);
// The platform is this host's where the config names none.
std::string write_image_config(const ImageConfig& config);
}  // namespace gantry::oci
