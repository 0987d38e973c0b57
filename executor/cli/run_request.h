// What `gantry run` was asked for, and the request made of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "executor/cli/flags.h"
#include "executor/cli/json.h"
#include "executor/cli/terminal.h"

namespace gantry::cli {
// As given on the command line, unparsed.
struct RunOptions {
  bool detach = false, remove = false, interactive = false, terminal = false, read_only = false,
       init = false, privileged = false;
  std::string name, workdir, user, hostname, memory, memory_reservation, memory_swap, cpus,
      cpu_shares, cpuset, cpuset_mems, pids, network, rootfs, stop_signal, stop_timeout, restart,
      oom_score_adj, shm_size, cidfile, pidfile, blkio_weight, cgroup_parent, pull;
  std::string health_cmd, health_interval, health_timeout, health_retries, health_start_period,
      health_start_interval, health_on_failure;
  bool no_healthcheck = false;
  bool create_only = false;  // `gantry create`
  std::optional<std::string> entrypoint, detach_keys;
  std::vector<std::string> env, env_files, volumes, tmpfs, mounts, labels, ulimits, cap_add,
      cap_drop, ports, uris, dns, hosts, security, sysctls, groups, log_options, devices,
      device_rules, read_bps, write_bps, read_iops, write_iops;
  void declare(Flags& flags);
  void declare_common(Flags& flags);  // without those of a container that runs at once
  void declare_health(Flags& flags);
  void declare_limits(Flags& flags);  // those that `gantry update` can change
};

// The body of the call that runs `words` (IMAGE [COMMAND…], or COMMAND… with --rootfs) as container
// `id`: GANTRY_RUN in the foreground, LAUNCH_CONTAINER with -d, GANTRY_CREATE for `gantry create`.
// Relative paths become absolute.
Result<std::string> run_request(const RunOptions& options, const std::string& id,
                                const std::vector<std::string>& words);
// The members "resources" and, where it is given, "restart" of a request.
Result<void> write_resources(JsonWriter& json, const RunOptions& options);
Result<void> write_restart(JsonWriter& json, const RunOptions& options);
}  // namespace gantry::cli
