#include "provisioner/merge_image_config.h"

#include <algorithm>
#include <set>

namespace gantry {
namespace {
constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// Absolute, without "." and ".."; Errc::invalid names the field.
Result<std::string> clean_path(std::string_view field, std::string_view path) {
  std::string shown(path.substr(0, 100));
  if (path.size() > 4095 || has_control_characters(path)) {
    return Error(Errc::invalid,
                 cat("image config: ", field, ": is too long or has control characters"));
  }
  std::string out;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part == "..") {
      return Error(Errc::invalid, cat("image config: ", field, ": '", shown, "' contains '..'"));
    }
    if (!part.empty() && part != ".") out += cat("/", part);
  }
  return out.empty() ? "/" : out;
}

std::string_view name_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

// Later ones win, in the place of the first of that name.
Result<std::vector<std::string>> merge_env(const std::vector<std::string>& image,
                                           const std::vector<std::string>& own) {
  std::vector<std::string> out;
  std::map<std::string, size_t, std::less<>> index;
  auto add = [&](const std::string& variable) {
    auto [it, is_new] = index.emplace(name_of(variable), out.size());
    if (is_new) {
      out.push_back(variable);
    } else {
      out[it->second] = variable;
    }
  };
  for (const std::string& variable : image) {
    if (variable.starts_with('=') || variable.find('=') == std::string::npos) {
      return Error(Errc::invalid, cat("image config: config.Env: '", variable.substr(0, 60),
                                      "' is not NAME=VALUE"));
    }
    add(variable);
  }
  for (const std::string& variable : own) add(variable);
  if (!index.contains("PATH")) out.insert(out.begin(), kDefaultPath);
  return out;
}

Result<void> merge_command(ProcessSpec& process, const oci::ImageConfig& image) {
  std::vector<std::string> args;
  if (process.entrypoint) {
    args = *process.entrypoint;
  } else {
    args = image.entrypoint;
    if (process.args.empty()) process.args = image.cmd;
  }
  args.insert(args.end(), process.args.begin(), process.args.end());
  if (args.empty() || args[0].empty()) {
    return Error(Errc::invalid, "no command: the image has neither entrypoint nor cmd, give one");
  }
  process.args = std::move(args);
  process.entrypoint = std::nullopt;
  return {};
}
// Of an image's HEALTHCHECK; empty: none.
Result<std::vector<std::string>> health_args(const std::vector<std::string>& test) {
  if (test.empty() || test[0] == "NONE") return std::vector<std::string>();
  if (test[0] == "CMD" && test.size() > 1) return std::vector(test.begin() + 1, test.end());
  if (test[0] == "CMD-SHELL" && test.size() == 2)
    return std::vector<std::string>{"/bin/sh", "-c", test[1]};
  return Error(Errc::invalid, cat("image config: config.Healthcheck.Test: '", test[0].substr(0, 60),
                                  "' is none of NONE, CMD with words and CMD-SHELL with one"));
}

// Whoever runs an image need not know how often it wants to be looked at.
constexpr HealthSpec::Time kLeastInterval{100};

Result<void> merge_health(ContainerSpec& spec, const oci::HealthCheck& image) {
  if (spec.health && spec.health->is_off) return {};
  std::vector<std::string> args = GANTRY_TRY(health_args(image.test));
  if (!spec.health && args.empty()) return {};
  if (!spec.health) spec.health.emplace();
  HealthSpec& health = *spec.health;
  if (health.args.empty()) health.args = std::move(args);
  if (health.args.empty()) {
    return Error(Errc::invalid,
                 "health check: neither the request nor the image has a command for it");
  }
  const auto take = [](std::optional<HealthSpec::Time>& own, uint64_t ns, HealthSpec::Time least) {
    const auto time = std::chrono::ceil<HealthSpec::Time>(std::chrono::nanoseconds(
        std::min<uint64_t>(ns, std::chrono::nanoseconds(HealthSpec::kLongest).count())));
    if (!own && ns != 0) own = std::max(time, least);
  };
  const HealthSpec::Time any{1};
  take(health.interval, image.interval_ns, kLeastInterval);
  take(health.timeout, image.timeout_ns, any);
  take(health.start_period, image.start_period_ns, any);
  take(health.start_interval, image.start_interval_ns, kLeastInterval);
  if (!health.retries && image.retries != 0) {
    health.retries = std::min<uint64_t>(image.retries, HealthSpec::kMostRetries);
  }
  return {};
}
}  // namespace

Result<void> merge_image_config(ContainerSpec& spec, const oci::ImageConfig& image) {
  GANTRY_TRY(merge_command(spec.process, image));
  spec.process.env = GANTRY_TRY(merge_env(image.env, spec.process.env));
  if (spec.process.cwd.empty()) {
    spec.process.cwd = GANTRY_TRY(clean_path("config.WorkingDir", image.working_dir));
  }
  if (spec.process.user.text.empty()) {
    if (image.user.size() > 255 || has_control_characters(image.user)) {
      return Error(Errc::invalid,
                   "image config: config.User: is too long or has control characters");
    }
    spec.process.user.text = image.user;
  }
  if (spec.stop_signal.empty()) {
    if (image.stop_signal.size() > 32 || has_control_characters(image.stop_signal)) {
      return Error(Errc::invalid, "image config: config.StopSignal: is not the name of a signal");
    }
    spec.stop_signal = image.stop_signal;
  }
  GANTRY_TRY(merge_health(spec, image.health));
  std::set<std::string> mounted;
  for (const MountSpec& mount : spec.mounts) mounted.insert(mount.destination);
  for (const std::string& volume : image.volumes) {
    std::string path = GANTRY_TRY(clean_path("config.Volumes", volume));
    if (path == "/") return Error(Errc::invalid, "image config: config.Volumes: names '/'");
    if (!mounted.insert(path).second) continue;
    MountSpec mount;
    mount.type = MountSpec::Type::volume;
    mount.destination = std::move(path);
    spec.mounts.push_back(std::move(mount));
  }
  return {};
}
}  // namespace gantry
