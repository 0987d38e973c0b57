// What `gantry run` was asked for, and the request made of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "executor/cli/flags.h"
#include "executor/cli/json.h"

namespace gantry::cli {
// As given on the command line, unparsed.
struct RunOptions {
  bool detach = false, remove = false, interactive = false, read_only = false, init = false;
  std::string name, workdir, user, hostname, memory, memory_reservation, memory_swap, cpus,
      cpu_shares, cpuset, cpuset_mems, pids, network, rootfs, stop_signal, stop_timeout,
      oom_score_adj;
  std::optional<std::string> entrypoint;
  std::vector<std::string> env, env_files, volumes, tmpfs, labels, ulimits, cap_add, cap_drop,
      ports, uris, dns, hosts, security, sysctls, groups;
  void declare(Flags& flags);
};

// An executor's complaint about a field of such a request, in the words of the command line:
// "--cpus: must be 0.01 to 8192".
std::string in_flags(std::string complaint);

// The body of the call that runs `words` (IMAGE [COMMAND…], or COMMAND… with --rootfs) as container
// `id`: GANTRY_RUN in the foreground, LAUNCH_CONTAINER with -d. Relative paths become absolute.
Result<std::string> run_request(const RunOptions& options, const std::string& id,
                                const std::vector<std::string>& words);

// Values of flags that may be repeated, as members of a request; none: no member.
void write_strings(JsonWriter& json, std::string_view key, const std::vector<std::string>& items);
// KEY=VALUE, or KEY for an empty value.
Result<void> write_map(JsonWriter& json, std::string_view key, std::string_view flag,
                       const std::vector<std::string>& pairs);
// NAME=VALUE, or NAME alone for the value it has here; unset here is left out, as docker does.
Result<void> write_env(JsonWriter& json, const std::vector<std::string>& env);
}  // namespace gantry::cli
