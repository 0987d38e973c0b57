#include "fetcher/image_fields.h"

#include <algorithm>

namespace gantry {
namespace {
void add_all(Fields& to, std::string_view name, const std::vector<std::string>& values) {
  for (const std::string& value : values) to.add(name, value);
}
}  // namespace

void add_image_config(Fields& to, const oci::ImageConfig& config) {
  add_all(to, "entrypoint", config.entrypoint);
  add_all(to, "cmd", config.cmd);
  add_all(to, "env", config.env);
  add_all(to, "volume", config.volumes);
  add_all(to, "port", config.exposed_ports);
  to.add("user", config.user);
  to.add("working_dir", config.working_dir);
  to.add("stop_signal", config.stop_signal);
  to.add("os", config.os);
  to.add("architecture", config.architecture);
  to.add("variant", config.variant);
  to.add("created", config.created);
  for (const auto& [name, value] : config.labels) {
    to.add("label.name", name);
    to.add("label.value", value);
  }
  for (const oci::Digest& id : config.diff_ids) to.add("diff_id", id.to_string());
  add_all(to, "health.test", config.health.test);
  if (config.health == oci::HealthCheck()) return;
  to.add_number("health.interval", config.health.interval_ns);
  to.add_number("health.timeout", config.health.timeout_ns);
  to.add_number("health.start_period", config.health.start_period_ns);
  to.add_number("health.start_interval", config.health.start_interval_ns);
  to.add_number("health.retries", config.health.retries);
}

namespace {
Result<oci::HealthCheck> health_from(const Fields& from) {
  oci::HealthCheck out;
  out.test = from.all("health.test");
  if (!from.has("health.interval")) return out;
  out.interval_ns = GANTRY_TRY(from.number<uint64_t>("health.interval"));
  out.timeout_ns = GANTRY_TRY(from.number<uint64_t>("health.timeout"));
  out.start_period_ns = GANTRY_TRY(from.number<uint64_t>("health.start_period"));
  out.start_interval_ns = GANTRY_TRY(from.number<uint64_t>("health.start_interval"));
  out.retries = GANTRY_TRY(from.number<uint64_t>("health.retries"));
  return out;
}
}  // namespace

namespace {
void add_words(Fields& to, std::string_view name,
               const std::optional<std::vector<std::string>>& words) {
  if (!words) return;
  Fields list;
  add_all(list, "word", *words);
  to.add(name, list.encode());
}
std::optional<std::vector<std::string>> words_of(const Fields& from, std::string_view name) {
  if (!from.has(name)) return std::nullopt;
  const Result<Fields> list = Fields::decode(from.get(name));
  return list ? list->all("word") : std::vector<std::string>();
}
std::optional<std::string> text_of(const Fields& from, std::string_view name) {
  if (!from.has(name)) return std::nullopt;
  return std::string(from.get(name));
}
}  // namespace

void add_image_changes(Fields& to, const oci::ImageChanges& changes) {
  add_words(to, "entrypoint", changes.entrypoint);
  add_words(to, "cmd", changes.cmd);
  add_all(to, "env", changes.env);
  add_all(to, "port", changes.exposed_ports);
  add_all(to, "volume", changes.volumes);
  for (const auto& [name, value] : changes.labels) {
    to.add("label.name", name);
    to.add("label.value", value);
  }
  if (changes.user) to.add("user", *changes.user);
  if (changes.working_dir) to.add("working_dir", *changes.working_dir);
  if (changes.stop_signal) to.add("stop_signal", *changes.stop_signal);
}

oci::ImageChanges image_changes_from(const Fields& from) {
  oci::ImageChanges out;
  out.entrypoint = words_of(from, "entrypoint");
  out.cmd = words_of(from, "cmd");
  out.env = from.all("env");
  out.exposed_ports = from.all("port");
  out.volumes = from.all("volume");
  const auto names = from.all("label.name"), values = from.all("label.value");
  for (size_t i = 0; i < std::min(names.size(), values.size()); ++i) {
    out.labels[names[i]] = values[i];
  }
  out.user = text_of(from, "user");
  out.working_dir = text_of(from, "working_dir");
  out.stop_signal = text_of(from, "stop_signal");
  return out;
}

Result<oci::ImageConfig> image_config_from(const Fields& from) {
  oci::ImageConfig out;
  out.entrypoint = from.all("entrypoint");
  out.cmd = from.all("cmd");
  out.env = from.all("env");
  out.volumes = from.all("volume");
  out.exposed_ports = from.all("port");
  out.user = from.get("user");
  out.working_dir = from.get("working_dir");
  out.stop_signal = from.get("stop_signal");
  out.os = from.get("os");
  out.architecture = from.get("architecture");
  out.variant = from.get("variant");
  out.created = from.get("created");
  auto names = from.all("label.name"), values = from.all("label.value");
  if (names.size() != values.size()) return Error(Errc::corrupt, "labels do not pair up");
  for (size_t i = 0; i < names.size(); ++i) out.labels[names[i]] = values[i];
  for (const std::string& id : from.all("diff_id")) {
    out.diff_ids.push_back(GANTRY_TRY(oci::Digest::parse(id)));
  }
  out.health = GANTRY_TRY(health_from(from));
  // Values become C strings later on.
  for (const auto& [name, value] : from.items()) {
    if (value.find('\0') != std::string::npos && name != "layer") {
      return Error(Errc::corrupt, cat("image configuration: ", name, " has a NUL character"));
    }
  }
  return out;
}
}  // namespace gantry
