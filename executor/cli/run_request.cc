#include "executor/cli/run_request.h"

#include <algorithm>
#include <iterator>

#include "api/types/capability_names.h"
#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/json.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/run_devices.h"
#include "executor/cli/run_files.h"
#include "executor/cli/run_health.h"
#include "executor/cli/run_network.h"
#include "executor/cli/terminal.h"

namespace gantry::cli {
namespace {
// Of the files first: what the command line says wins.
Result<std::vector<std::string>> env_words(const RunOptions& options) {
  std::vector<std::string> words;
  for (const std::string& file : options.env_files) {
    const std::string text = GANTRY_TRY(sys::read_file(file).context("--env-file"));
    for (const std::string_view line : split_words(text, '\n')) {
      if (!line.empty() && line[0] != '#') words.emplace_back(line);
    }
  }
  words.insert(words.end(), options.env.begin(), options.env.end());
  return words;
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

// With or without CAP_, in any case; ALL is every one.
Result<void> write_capabilities(JsonWriter& json, std::string_view key, std::string_view flag,
                                const std::vector<std::string>& words) {
  std::vector<std::string_view> known(std::begin(kCapabilityNames), std::end(kCapabilityNames));
  known.emplace_back("ALL");
  std::vector<std::string> names;
  for (const std::string& word : words) {
    std::string name = word;
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    if (name.starts_with("CAP_")) name.erase(0, 4);
    if (std::ranges::find(known, name) == known.end()) {
      const std::string_view meant = nearest(name, known);
      return usage_error(
          cat(flag, " \"", word, "\" is no capability",
              meant.empty() ? std::string(": 'man 7 capabilities' lists them, and ALL is every one")
                            : cat("; did you mean ", meant, "?")));
    }
    names.push_back(std::move(name));
  }
  write_strings(json, key, names);
  return {};
}

// With --privileged what is not given is off.
std::vector<std::string> security_words(const RunOptions& options) {
  std::vector<std::string> out = options.security;
  if (!options.privileged) return out;
  for (const std::string_view open :
       {"seccomp=unconfined", "no-new-privileges=false", "systempaths=unconfined"}) {
    const std::string_view key = open.substr(0, open.find('='));
    const auto is_given = [&](const std::string& word) { return split_words(word, '=')[0] == key; };
    if (std::ranges::none_of(options.security, is_given)) out.emplace_back(open);
  }
  return out;
}

Result<void> write_security(JsonWriter& json, const RunOptions& options) {
  GANTRY_TRY(write_capabilities(json, "cap_add", "--cap-add", options.cap_add));
  GANTRY_TRY(write_capabilities(json, "cap_drop", "--cap-drop", options.cap_drop));
  if (options.privileged) write_strings(json, "cap_add", obtainable_capabilities());
  for (const std::string& word : security_words(options)) {
    const auto pair = cut(word, '=');
    if (word == "no-new-privileges") {
      json.boolean("no_new_privileges", true);
    } else if (word == "no-new-privileges=false") {
      json.boolean("no_new_privileges", false);
    } else if (word == "seccomp=unconfined") {
      json.open("seccomp").text("mode", "UNCONFINED").close();
    } else if (pair && pair->key == "seccomp") {
      const std::string profile =
          GANTRY_TRY(sys::read_file(std::string(pair->value)).context("--security-opt seccomp"));
      json.open("seccomp").text("mode", "PROFILE").text("profile_json", profile).close();
    } else if (word == "systempaths=unconfined") {
      json.boolean("masked_paths", false);
    } else if (word == "apparmor=unconfined" || word == "label=disable") {
      continue;  // no container has either
    } else {
      return usage_error(cat("--security-opt ", word,
                             ": known are seccomp=unconfined, seccomp=FILE, "
                             "no-new-privileges[=false], systempaths=unconfined, "
                             "apparmor=unconfined, label=disable"));
    }
  }
  if (options.read_only) json.boolean("read_only", true);
  for (const std::string& word : options.sysctls) {
    const std::string_view key = split_words(word, '=')[0];
    if (key.empty() || key.size() > 256 || key.find_first_of(" \t\n/") != key.npos ||
        key.find("..") != key.npos) {
      return usage_error(
          cat("--sysctl \"", word, "\": write KEY=VALUE, e.g. net.core.somaxconn=1024"));
    }
  }
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
  if (options.terminal) write_terminal(json);
  if (options.init) json.boolean("init", true);
  GANTRY_TRY(write_ulimits(json, options.ulimits));
  if (!options.oom_score_adj.empty()) {
    json.integer("oom_score_adj",
                 GANTRY_TRY(whole_number<int>("--oom-score-adj", options.oom_score_adj)));
  }
  return {};
}

// As docker's: max-size alone keeps one file, and -1 is any size.
Result<void> write_log(JsonWriter& json, const RunOptions& options) {
  std::optional<uint64_t> max_size;
  std::optional<uint32_t> max_files;
  for (const std::string& words : options.log_options) {
    for (const std::string_view word : split_words(words, ',')) {
      const std::optional<Pair> pair = cut(word, '=');
      if (pair && pair->key == "max-size") {
        max_size =
            pair->value == "-1" ? 0 : GANTRY_TRY(parse_bytes("--log-opt max-size", pair->value));
      } else if (pair && pair->key == "max-file") {
        max_files = GANTRY_TRY(whole_number<uint32_t>("--log-opt max-file", pair->value));
      } else {
        return usage_error(
            cat("--log-opt ", word, ": known are max-size=SIZE and max-file=NUMBER"));
      }
    }
  }
  if (!max_size && !max_files) return {};
  json.open("log");
  if (max_size) json.integer("max_size_bytes", static_cast<int64_t>(*max_size));
  if (max_files) json.integer("max_files", *max_files);
  json.close();
  return {};
}

Result<void> write_spec(JsonWriter& json, const RunOptions& options,
                        const std::vector<std::string>& words) {
  json.open("gantry_spec");
  if (!options.name.empty()) json.text("name", options.name);
  GANTRY_TRY(write_process(json, options, words));
  GANTRY_TRY(write_security(json, options));
  GANTRY_TRY(write_resources(json, options));
  GANTRY_TRY(write_devices(json, options));
  GANTRY_TRY(write_mounts(json, options));
  GANTRY_TRY(write_uris(json, options.uris));
  GANTRY_TRY(write_network(json, options));
  if (!options.hostname.empty()) json.text("hostname", options.hostname);
  if (!options.cgroup_parent.empty()) json.text("cgroup_parent", options.cgroup_parent);
  GANTRY_TRY(write_map(json, "labels", "--label", options.labels));
  if (!options.stop_signal.empty()) {
    GANTRY_TRY(parse_signal(options.stop_signal).context("--stop-signal"));
    json.text("stop_signal", options.stop_signal);
  }
  if (!options.stop_timeout.empty()) {
    json.integer("stop_timeout_seconds",
                 GANTRY_TRY(whole_number<uint32_t>("--stop-timeout", options.stop_timeout)));
  }
  if (options.remove) json.boolean("remove_on_exit", true);
  GANTRY_TRY(write_restart(json, options));
  GANTRY_TRY(write_log(json, options));
  GANTRY_TRY(write_health(json, options));
  json.close();
  return {};
}
}  // namespace

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
  // `unlimited`: what -1 is to the executor.
  const auto bytes = [&](std::string_view key, std::string_view flag, const std::string& text,
                         int64_t unlimited) -> Result<void> {
    if (text.empty()) return {};
    json.integer(
        key, text == "-1" ? unlimited : static_cast<int64_t>(GANTRY_TRY(parse_bytes(flag, text))));
    return {};
  };
  GANTRY_TRY(bytes("memory_limit_bytes", "--memory", options.memory, 0));
  GANTRY_TRY(
      bytes("memory_reservation_bytes", "--memory-reservation", options.memory_reservation, 0));
  GANTRY_TRY(bytes("memory_swap_bytes", "--memory-swap", options.memory_swap, -1));
  if (!options.pids.empty()) {
    json.integer("pids_limit", GANTRY_TRY(whole_number<int64_t>("--pids", options.pids)));
  }
  GANTRY_TRY(write_device_limits(json, options));
  json.close();
  return {};
}

Result<void> write_restart(JsonWriter& json, const RunOptions& options) {
  static constexpr std::pair<std::string_view, std::string_view> kPolicies[] = {
      {"no", "NO"},
      {"on-failure", "ON_FAILURE"},
      {"always", "ALWAYS"},
      {"unless-stopped", "UNLESS_STOPPED"}};
  if (options.restart.empty()) return {};
  const std::optional<Pair> limited = cut(options.restart, ':');
  const std::string_view word = limited ? limited->key : std::string_view(options.restart);
  const auto* policy = std::ranges::find(kPolicies, word, [](auto& p) { return p.first; });
  if (policy == std::end(kPolicies) || (limited && word != "on-failure")) {
    return usage_error(cat("--restart is no, on-failure[:TIMES], always or unless-stopped, not \"",
                           options.restart, "\""));
  }
  if (options.remove && word != "no") {
    return usage_error("--restart and --rm exclude each other: what is removed cannot run again");
  }
  json.open("restart").text("policy", policy->second);
  if (limited) {
    json.integer("maximum_retries",
                 GANTRY_TRY(whole_number<uint32_t>("--restart on-failure", limited->value)));
  }
  json.close();
  return {};
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
  if (options.create_only) {
    json.text("type", "GANTRY_CREATE").open("gantry_create").open("launch");
  } else if (options.detach) {
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
