#include "fetcher/image_fields.h"

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
