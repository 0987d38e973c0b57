#include "executor/cli/run_request.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/json.h"
#include "executor/cli/print.h"

namespace gantry::cli {
namespace {
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (size_t from = 0;;) {
    const size_t at = text.find(separator, from);
    out.push_back(text.substr(from, at - from));
    if (at == text.npos) return out;
    from = at + 1;
  }
}

struct Pair {
  std::string_view key, value;
};
// At the first separator; nothing where there is none.
std::optional<Pair> cut(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == text.npos) return std::nullopt;
  return Pair{text.substr(0, at), text.substr(at + 1)};
}

std::string absolute_path(std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  char here[4096];
  if (::getcwd(here, sizeof here) == nullptr) return std::string(path);
  while (path.starts_with("./")) path.remove_prefix(2);
  return path == "." || path.empty() ? std::string(here) : cat(here, "/", path);
}

template <std::integral T>
Result<T> whole_number(std::string_view flag, std::string_view text) {
  T value{};
  if (parse_number(text, value)) return value;
  return usage_error(cat(flag, " is a whole number, not \"", text, "\""));
}

}  // namespace

void write_strings(JsonWriter& json, std::string_view key, const std::vector<std::string>& items) {
  if (items.empty()) return;
  json.open_list(key);
  for (const std::string& item : items) json.item(item);
  json.close_list();
}

Result<void> write_map(JsonWriter& json, std::string_view key, std::string_view flag,
                       const std::vector<std::string>& pairs) {
  if (pairs.empty()) return {};
  json.open(key);
  for (const std::string& pair : pairs) {
    const auto parts = cut(pair, '=');
    if (parts && parts->key.empty()) {
      return usage_error(cat(flag, " \"", pair, "\" has no name before the ="));
    }
    json.text(parts ? parts->key : std::string_view(pair), parts ? parts->value : "");
  }
  json.close();
  return {};
}

Result<void> write_env(JsonWriter& json, const std::vector<std::string>& env) {
  std::vector<std::string> out;
  for (const std::string& word : env) {
    if (word.empty() || word[0] == '=') {
      return usage_error(cat("-e \"", word, "\" has no name: NAME=VALUE, or NAME to pass it on"));
    }
    const char* here = word.find('=') == word.npos ? ::getenv(word.c_str()) : nullptr;
    if (here != nullptr) {
      out.push_back(cat(word, "=", here));
    } else if (word.find('=') != word.npos) {
      out.push_back(word);
    }
  }
  write_strings(json, "env", out);
  return {};
}

namespace {
// Of the files first: what the command line says wins.
Result<std::vector<std::string>> env_words(const RunOptions& options) {
  std::vector<std::string> words;
  for (const std::string& file : options.env_files) {
    const std::string text = GANTRY_TRY(sys::read_file(file).context("--env-file"));
    for (const std::string_view line : split(text, '\n')) {
      if (!line.empty() && line[0] != '#') words.emplace_back(line);
    }
  }
  words.insert(words.end(), options.env.begin(), options.env.end());
  return words;
}

Result<void> write_resources(JsonWriter& json, const RunOptions& options) {
  json.open("resources");
  if (!options.cpus.empty()) {
    json.number("cpus", GANTRY_TRY(parse_decimal("--cpus", options.cpus)));
  }
  if (!options.cpu_shares.empty()) {
    json.integer("cpu_shares",
                 GANTRY_TRY(whole_number<uint32_t>("--cpu-shares", options.cpu_shares)));
  }
  if (!options.cpuset.empty()) json.text("cpuset_cpus", options.cpuset);
  if (!options.cpuset_mems.empty()) json.text("cpuset_mems", options.cpuset_mems);
  const auto bytes = [&](std::string_view key, std::string_view flag,
                         const std::string& text) -> Result<void> {
    if (text.empty()) return {};
    if (text == "-1") {
      json.integer(key, -1);
      return {};
    }
    json.integer(key, static_cast<int64_t>(GANTRY_TRY(parse_bytes(flag, text))));
    return {};
  };
  GANTRY_TRY(bytes("memory_limit_bytes", "--memory", options.memory));
  GANTRY_TRY(bytes("memory_reservation_bytes", "--memory-reservation", options.memory_reservation));
  GANTRY_TRY(bytes("memory_swap_bytes", "--memory-swap", options.memory_swap));
  if (!options.pids.empty()) {
    json.integer("pids_limit", GANTRY_TRY(whole_number<int64_t>("--pids", options.pids)));
  }
  json.close();
  return {};
}

Result<int64_t> ulimit_value(std::string_view whole, std::string_view text) {
  int64_t value = 0;
  if (text == "unlimited" || text == "-1") return -1;
  if (parse_number(text, value) && value >= 0) return value;
  return usage_error(cat("--ulimit ", whole, ": \"", text, "\" is not a number or \"unlimited\""));
}

Result<void> write_ulimits(JsonWriter& json, const std::vector<std::string>& ulimits) {
  if (ulimits.empty()) return {};
  json.open_list("ulimits");
  for (const std::string& word : ulimits) {
    const auto parts = cut(word, '=');
    if (!parts) return usage_error(cat("--ulimit ", word, ": write NAME=SOFT[:HARD]"));
    json.open().text("name", parts->key);
    const auto values = cut(parts->value, ':');
    json.integer("soft", GANTRY_TRY(ulimit_value(word, values ? values->key : parts->value)));
    if (values) json.integer("hard", GANTRY_TRY(ulimit_value(word, values->value)));
    json.close();
  }
  json.close_list();
  return {};
}

Result<void> mount_option(JsonWriter& json, std::string_view word, std::string_view option) {
  static constexpr auto kPropagations = std::to_array<Pair>({{"private", "PRIVATE"},
                                                             {"rprivate", "RPRIVATE"},
                                                             {"slave", "SLAVE"},
                                                             {"rslave", "RSLAVE"},
                                                             {"shared", "SHARED"},
                                                             {"rshared", "RSHARED"}});
  if (option == "rw" || option.empty()) return {};
  if (option == "ro") {
    json.boolean("read_only", true);
    return {};
  }
  if (option == "nosuid" || option == "nodev" || option == "noexec") {
    json.boolean(option, true);
    return {};
  }
  if (option == "bind" || option == "rbind") {
    json.boolean("recursive", option == "rbind");
    return {};
  }
  if (const auto* it = std::ranges::find(kPropagations, option, &Pair::key);
      it != kPropagations.end()) {
    json.text("propagation", it->value);
    return {};
  }
  return usage_error(
      cat("-v ", word, ": unknown option \"", option,
          "\". Known: ro, rw, nosuid, nodev, noexec, bind, rbind, private, rprivate, "
          "slave, rslave, shared, rshared"));
}

// SOURCE:DESTINATION[:OPTIONS]; a SOURCE without a slash that does not begin with a dot is the name
// of a volume.
Result<void> write_volume(JsonWriter& json, const std::string& word) {
  const std::vector<std::string_view> parts = split(word, ':');
  if (parts.size() > 3)
    return usage_error(cat("-v ", word, ": write SOURCE:DESTINATION[:OPTIONS]"));
  const std::string_view destination = parts.size() == 1 ? parts[0] : parts[1];
  if (!destination.starts_with('/')) {
    return usage_error(cat("-v ", word, ": the place in the container must begin with a slash"));
  }
  json.open();
  if (parts.size() == 1) {
    json.text("type", "VOLUME");
  } else if (parts[0].empty()) {
    return usage_error(cat("-v ", word, ": the source is empty"));
  } else if (parts[0][0] == '.' || parts[0].find('/') != std::string_view::npos) {
    json.text("type", "BIND").text("source", absolute_path(parts[0]));
  } else {
    json.text("type", "VOLUME").text("source", parts[0]);
  }
  json.text("destination", destination);
  if (parts.size() == 3) {
    for (const std::string_view option : split(parts[2], ',')) {
      GANTRY_TRY(mount_option(json, word, option));
    }
  }
  json.close();
  return {};
}

// DESTINATION[:size=64m,mode=1777,ro,noexec…]
Result<void> write_tmpfs(JsonWriter& json, const std::string& word) {
  const auto parts = cut(word, ':');
  const std::string_view destination = parts ? parts->key : std::string_view(word);
  if (!destination.starts_with('/')) {
    return usage_error(cat("--tmpfs ", word, ": the place must begin with a slash"));
  }
  json.open().text("type", "TMPFS").text("destination", destination);
  for (const std::string_view option :
       parts ? split(parts->value, ',') : std::vector<std::string_view>()) {
    const auto pair = cut(option, '=');
    if (pair && pair->key == "size") {
      json.integer("size_bytes", static_cast<int64_t>(GANTRY_TRY(
                                     parse_bytes(cat("--tmpfs ", word, ": size"), pair->value))));
    } else if (pair && pair->key == "mode") {
      char* end = nullptr;
      const std::string text(pair->value);
      const unsigned long mode = ::strtoul(text.c_str(), &end, 8);
      if (text.empty() || *end != '\0' || mode > 07777) {
        return usage_error(cat("--tmpfs ", word, ": mode is octal, like 1777"));
      }
      json.integer("mode", static_cast<int64_t>(mode));
    } else if (option != "exec" && option != "suid" && option != "dev") {
      GANTRY_TRY(mount_option(json, word, option));
    }
  }
  json.close();
  return {};
}

Result<void> write_mounts(JsonWriter& json, const RunOptions& options) {
  if (options.volumes.empty() && options.tmpfs.empty()) return {};
  json.open_list("mounts");
  for (const std::string& word : options.volumes) GANTRY_TRY(write_volume(json, word));
  for (const std::string& word : options.tmpfs) GANTRY_TRY(write_tmpfs(json, word));
  json.close_list();
  return {};
}

// [IP:]HOST:CONTAINER[/tcp|/udp]
Result<void> write_port(JsonWriter& json, const std::string& word) {
  std::string_view rest = word;
  std::string_view protocol = "tcp";
  if (const auto parts = cut(rest, '/')) {
    rest = parts->key;
    protocol = parts->value;
  }
  if (protocol != "tcp" && protocol != "udp") {
    return usage_error(cat("-p ", word, ": the protocol is tcp or udp"));
  }
  const size_t last = rest.rfind(':');
  if (last == rest.npos) {
    return usage_error(cat("-p ", word, ": write HOST:CONTAINER, e.g. 8080:80"));
  }
  std::string_view host = rest.substr(0, last);
  std::string_view address;
  if (const size_t colon = host.rfind(':'); colon != host.npos) {
    address = host.substr(0, colon);
    host = host.substr(colon + 1);
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
  }
  uint16_t host_port = 0, container_port = 0;
  if (!parse_number(host, host_port) || !parse_number(rest.substr(last + 1), container_port) ||
      host_port == 0 || container_port == 0) {
    return usage_error(cat("-p ", word, ": ports are numbers from 1 to 65535"));
  }
  json.open().integer("host_port", host_port).integer("container_port", container_port);
  json.text("protocol", protocol);
  if (!address.empty()) json.text("host_ip", address);
  json.close();
  return {};
}

Result<void> write_network(JsonWriter& json, const RunOptions& options) {
  // A published port says which network is meant.
  std::string mode = options.network;
  if (mode.empty()) mode = options.ports.empty() ? "none" : "bridge";
  if (mode != "none" && mode != "host" && mode != "bridge") {
    return usage_error(cat("--network is none, host or bridge, not \"", mode, "\""));
  }
  if (!options.ports.empty() && mode != "bridge") {
    return usage_error(cat("-p publishes ports of --network bridge, not of ", mode));
  }
  std::ranges::transform(mode, mode.begin(), [](char c) { return static_cast<char>(c - 32); });
  json.open("network").text("mode", mode);
  if (!options.ports.empty()) {
    json.open_list("ports");
    for (const std::string& word : options.ports) GANTRY_TRY(write_port(json, word));
    json.close_list();
  }
  write_strings(json, "dns_servers", options.dns);
  if (!options.hosts.empty()) {
    json.open_list("extra_hosts");
    for (const std::string& word : options.hosts) {
      const auto parts = cut(word, ':');
      if (!parts) return usage_error(cat("--add-host ", word, ": write NAME:ADDRESS"));
      json.open().text("name", parts->key).text("address", parts->value).close();
    }
    json.close_list();
  }
  json.close();
  return {};
}

// URI#sha256=HEX[&extract][&executable][&name=FILE]
Result<void> write_uri(JsonWriter& json, const std::string& word) {
  const auto parts = cut(word, '#');
  std::string uri(parts ? parts->key : std::string_view(word));
  if (uri.find("://") == uri.npos) uri = cat("file://", absolute_path(uri));
  json.open().text("uri", uri);
  for (const std::string_view part :
       parts ? split(parts->value, '&') : std::vector<std::string_view>()) {
    const auto pair = cut(part, '=');
    if (pair && pair->key == "sha256") {
      json.text("sha256", pair->value);
    } else if (pair && pair->key == "name") {
      json.text("output_file", pair->value);
    } else if (part == "extract" || part == "executable") {
      json.boolean(part, true);
    } else {
      return usage_error(cat("--uri ", word,
                             ": after # only sha256=HEX, extract, executable and "
                             "name=FILE, joined by &"));
    }
  }
  json.close();
  return {};
}

Result<void> write_security(JsonWriter& json, const RunOptions& options) {
  write_strings(json, "cap_add", options.cap_add);
  write_strings(json, "cap_drop", options.cap_drop);
  for (const std::string& word : options.security) {
    const auto pair = cut(word, '=');
    if (word == "no-new-privileges") {
      json.boolean("no_new_privileges", true);
    } else if (word == "no-new-privileges=false") {
      json.boolean("no_new_privileges", false);
    } else if (word == "seccomp=unconfined") {
      json.open("seccomp").text("mode", "UNCONFINED").close();
    } else if (pair && pair->key == "seccomp") {
      const std::string profile = GANTRY_TRY(sys::read_file(std::string(pair->value)));
      json.open("seccomp").text("mode", "PROFILE").text("profile_json", profile).close();
    } else if (word == "systempaths=unconfined") {
      json.boolean("masked_paths", false);
    } else {
      return usage_error(cat("--security-opt ", word,
                             ": known are seccomp=unconfined, seccomp=FILE, "
                             "no-new-privileges[=false], systempaths=unconfined"));
    }
  }
  if (options.read_only) json.boolean("read_only", true);
  return write_map(json, "sysctls", "--sysctl", options.sysctls);
}

Result<void> write_process(JsonWriter& json, const RunOptions& options,
                           const std::vector<std::string>& words) {
  if (options.rootfs.empty()) {
    json.text("image", words[0]);
    write_strings(json, "args", {words.begin() + 1, words.end()});
    if (options.entrypoint) {
      json.open("entrypoint").open_list("args");
      if (!options.entrypoint->empty()) json.item(*options.entrypoint);
      json.close_list().close();
    }
  } else {
    // A directory has no entrypoint to be replaced: it is the first word.
    json.text("rootfs", absolute_path(options.rootfs));
    std::vector<std::string> args = words;
    if (!options.entrypoint.value_or("").empty()) args.insert(args.begin(), *options.entrypoint);
    write_strings(json, "args", args);
  }
  GANTRY_TRY(write_env(json, GANTRY_TRY(env_words(options))));
  if (!options.workdir.empty()) json.text("cwd", options.workdir);
  if (!options.user.empty()) json.text("user", options.user);
  write_strings(json, "additional_groups", options.groups);
  if (options.interactive) json.boolean("open_stdin", true);
  if (options.init) json.boolean("init", true);
  GANTRY_TRY(write_ulimits(json, options.ulimits));
  if (!options.oom_score_adj.empty()) {
    json.integer("oom_score_adj",
                 GANTRY_TRY(whole_number<int>("--oom-score-adj", options.oom_score_adj)));
  }
  return {};
}

Result<void> write_spec(JsonWriter& json, const RunOptions& options,
                        const std::vector<std::string>& words) {
  json.open("gantry_spec");
  if (!options.name.empty()) json.text("name", options.name);
  GANTRY_TRY(write_process(json, options, words));
  GANTRY_TRY(write_security(json, options));
  GANTRY_TRY(write_resources(json, options));
  GANTRY_TRY(write_mounts(json, options));
  if (!options.uris.empty()) {
    json.open_list("uris");
    for (const std::string& word : options.uris) GANTRY_TRY(write_uri(json, word));
    json.close_list();
    json.text("sandbox_mount", "/mnt/mesos/sandbox");
  }
  GANTRY_TRY(write_network(json, options));
  if (!options.hostname.empty()) json.text("hostname", options.hostname);
  GANTRY_TRY(write_map(json, "labels", "--label", options.labels));
  if (!options.stop_signal.empty()) {
    GANTRY_TRY(parse_signal(options.stop_signal));
    json.text("stop_signal", options.stop_signal);
  }
  if (!options.stop_timeout.empty()) {
    json.integer("stop_timeout_seconds",
                 GANTRY_TRY(whole_number<uint32_t>("--stop-timeout", options.stop_timeout)));
  }
  if (options.remove) json.boolean("remove_on_exit", true);
  json.close();
  return {};
}
}  // namespace

std::string in_flags(std::string complaint) {
  const size_t spec = complaint.find("gantry_spec.");
  if (spec == complaint.npos || spec > complaint.find(':')) return complaint;
  complaint.erase(0, spec + std::string_view("gantry_spec.").size());
  static constexpr Pair kFlags[] = {{"name", "--name"},
                                    {"cwd", "--workdir"},
                                    {"user", "--user"},
                                    {"hostname", "--hostname"},
                                    {"rootfs", "--rootfs"},
                                    {"oom_score_adj", "--oom-score-adj"},
                                    {"stop_signal", "--stop-signal"},
                                    {"stop_timeout_seconds", "--stop-timeout"},
                                    {"cap_add", "--cap-add"},
                                    {"cap_drop", "--cap-drop"},
                                    {"ulimits", "--ulimit"},
                                    {"additional_groups", "--group-add"},
                                    {"network.dns_servers", "--dns"},
                                    {"network.extra_hosts", "--add-host"},
                                    {"network.ports", "--publish"},
                                    {"resources.cpus", "--cpus"},
                                    {"resources.cpu_shares", "--cpu-shares"},
                                    {"resources.cpuset_cpus", "--cpuset"},
                                    {"resources.cpuset_mems", "--cpuset-mems"},
                                    {"resources.memory_limit_bytes", "--memory"},
                                    {"resources.memory_reservation_bytes", "--memory-reservation"},
                                    {"resources.memory_swap_bytes", "--memory-swap"},
                                    {"resources.pids_limit", "--pids"}};
  for (const Pair& flag : kFlags) {
    if (complaint.starts_with(cat(flag.key, ": "))) {
      return complaint.replace(0, flag.key.size(), flag.value);
    }
    // "cap_add[0]: …", "ulimits[1].name: …": which one was meant is easy to see among the words.
    const size_t colon = complaint.find(": ");
    if (colon != complaint.npos && complaint.starts_with(cat(flag.key, "["))) {
      return complaint.replace(0, colon, flag.value);
    }
  }
  return complaint;
}

Result<std::string> run_request(const RunOptions& options, const std::string& id,
                                const std::vector<std::string>& words) {
  if (options.rootfs.empty() && words.empty()) {
    return usage_error("needs an IMAGE (see 'gantry images') or --rootfs DIR");
  }
  if (!options.rootfs.empty() && words.empty() && !options.entrypoint) {
    return usage_error("needs a COMMAND: a directory, unlike an image, has none of its own");
  }
  JsonWriter json;
  json.open();
  if (options.detach) {
    json.text("type", "LAUNCH_CONTAINER").open("launch_container");
  } else {
    json.text("type", "GANTRY_RUN").open("gantry_run").open("launch");
  }
  json.open("container_id").text("value", id).close();
  GANTRY_TRY(write_spec(json, options, words));
  if (!options.detach) json.close();
  return json.close().close().take();
}
}  // namespace gantry::cli
