#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "api/oci/image.h"

namespace gantry::oci {
namespace {
using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void put(Writer& w, std::string_view text) {
  w.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}
void put(Writer& w, const char* key, std::string_view text) {
  w.Key(key);
  put(w, text);
}

void put(Writer& w, const Descriptor& descriptor) {
  w.StartObject();
  put(w, "mediaType", descriptor.media_type);
  put(w, "digest", descriptor.digest.to_string());
  w.Key("size");
  w.Uint64(descriptor.size);
  if (descriptor.platform) {
    w.Key("platform");
    w.StartObject();
    put(w, "architecture", descriptor.platform->architecture);
    put(w, "os", descriptor.platform->os);
    if (!descriptor.platform->variant.empty()) put(w, "variant", descriptor.platform->variant);
    w.EndObject();
  }
  if (!descriptor.annotations.empty()) {
    w.Key("annotations");
    w.StartObject();
    for (const auto& [name, value] : descriptor.annotations) put(w, name.c_str(), value);
    w.EndObject();
  }
  w.EndObject();
}

void put(Writer& w, const char* key, const std::vector<std::string>& words) {
  if (words.empty()) return;
  w.Key(key);
  w.StartArray();
  for (const std::string& word : words) put(w, word);
  w.EndArray();
}
// OCI writes a set as an object whose members are empty.
void put_set(Writer& w, const char* key, const std::vector<std::string>& names) {
  if (names.empty()) return;
  w.Key(key);
  w.StartObject();
  for (const std::string& name : names) {
    w.Key(name.c_str());
    w.StartObject();
    w.EndObject();
  }
  w.EndObject();
}
void put_health(Writer& w, const HealthCheck& health) {
  if (health == HealthCheck()) return;
  w.Key("Healthcheck");
  w.StartObject();
  put(w, "Test", health.test);
  const std::pair<const char*, uint64_t> numbers[] = {{"Interval", health.interval_ns},
                                                      {"Timeout", health.timeout_ns},
                                                      {"StartPeriod", health.start_period_ns},
                                                      {"StartInterval", health.start_interval_ns},
                                                      {"Retries", health.retries}};
  for (const auto& [name, value] : numbers) {
    if (value == 0) continue;
    w.Key(name);
    w.Uint64(value);
  }
  w.EndObject();
}
void put_unless_empty(Writer& w, const char* key, std::string_view text) {
  if (!text.empty()) put(w, key, text);
}

std::string take(const rapidjson::StringBuffer& buffer) {
  return {buffer.GetString(), buffer.GetSize()};
}
}  // namespace

std::string write_manifest(const Manifest& manifest) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  w.Key("schemaVersion");
  w.Int(2);
  put(w, "mediaType", manifest.media_type.empty() ? media::kManifest : manifest.media_type);
  w.Key("config");
  put(w, manifest.config);
  w.Key("layers");
  w.StartArray();
  for (const Descriptor& layer : manifest.layers) put(w, layer);
  w.EndArray();
  w.EndObject();
  return take(buffer);
}

std::string write_index(const Index& index) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  w.Key("schemaVersion");
  w.Int(2);
  put(w, "mediaType", media::kIndex);
  w.Key("manifests");
  w.StartArray();
  for (const Descriptor& entry : index.manifests) put(w, entry);
  w.EndArray();
  w.EndObject();
  return take(buffer);
}

std::string write_docker_manifest(const std::vector<DockerArchiveImage>& images) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartArray();
  for (const DockerArchiveImage& image : images) {
    w.StartObject();
    put(w, "Config", image.config_path);
    put(w, "RepoTags", image.repo_tags);
    put(w, "Layers", image.layer_paths);
    w.EndObject();
  }
  w.EndArray();
  return take(buffer);
}

std::string write_image_config(const ImageConfig& config) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  put(w, "architecture", config.architecture.empty() ? host_architecture() : config.architecture);
  put(w, "os", config.os.empty() ? "linux" : config.os);
  w.Key("config");
  w.StartObject();
  put(w, "Entrypoint", config.entrypoint);
  put(w, "Cmd", config.cmd);
  put(w, "Env", config.env);
  put_unless_empty(w, "User", config.user);
  put_unless_empty(w, "WorkingDir", config.working_dir);
  put_unless_empty(w, "StopSignal", config.stop_signal);
  put_set(w, "Volumes", config.volumes);
  put_set(w, "ExposedPorts", config.exposed_ports);
  if (!config.labels.empty()) {
    w.Key("Labels");
    w.StartObject();
    for (const auto& [name, value] : config.labels) put(w, name.c_str(), value);
    w.EndObject();
  }
  put_health(w, config.health);
  w.EndObject();
  w.Key("rootfs");
  w.StartObject();
  put(w, "type", "layers");
  w.Key("diff_ids");
  w.StartArray();
  for (const Digest& id : config.diff_ids) put(w, id.to_string());
  w.EndArray();
  w.EndObject();
  w.EndObject();
  return take(buffer);
}
}  // namespace gantry::oci
