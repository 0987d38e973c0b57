// The executor's settings: /etc/gantry/config.json < environment (GANTRY_…) < flags, the same names
// in all three (`cgroup_root`, GANTRY_CGROUP_ROOT, --cgroup-root).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "executor/rotating_file.h"

namespace gantry {
struct Config {
  std::string runtime_dir = "/run/gantry";
  std::string data_dir = "/var/lib/gantry";
  std::string socket;  // empty: RUNTIME/gantry.sock
  std::string cgroup_root = "/gantry";
  std::string listen_insecure;  // 127.0.0.1:PORT, scheduler API only; empty: none
  std::string listen_metrics;   // ADDRESS:PORT, /metrics and /health only; empty: none
  std::string listen_tls;       // ADDRESS:PORT, everything; empty: none. The rest says who may:
  std::string listen_tls_cert, listen_tls_key, listen_tls_client_ca, listen_tls_crl,
      listen_tls_token_file;
  std::string criu;          // path of the criu program; empty: found
  std::string network_pool;  // CIDR of the bridge's addresses; empty: the default
  std::string log_max_size;  // of one log file, like 10m; empty: any
  std::string failpoints;
  std::string log_file_max_size = "10m";  // of the executor's own, and of audit.log
  std::string log_file;                   // empty: DATA/executor.log when on demand, else stderr
  int idle_exit_seconds = 60;
  int exited_containers = 20'000;  // kept; the oldest go
  int exited_seconds = 24 * 3600;  // kept; older ones go
  int disk_headroom_percent = 10;  // below it the oldest exited go; 0: they stay
  int log_max_files = 1;           // of a stream, the current one counts
  int log_file_max_files = 3;      // of each of the executor's own, the current one counts
  int prepared_children = 32;      // kept ready of each kind of launch; 0: none
  bool on_demand = false;          // started by a client: leaves when idle
  bool here = false;               // allow namespaces other than pid 1's
};

// "10m": bytes, with k, m or g as docker writes them. Errc::invalid.
Result<uint64_t> parse_log_size(std::string_view text);

// Of the executor's own log and of the audit log.
Result<FileLimits> own_file_limits(const Config& config);

enum class ConfigAnswer { run, printed };
// Reads all three sources. `printed`: all that was asked (--help, --version, --check-configuration
// …) was answered. Errors name the setting, its value and what is legal.
Result<ConfigAnswer> read_config(int argc, char** argv, Config& config);
}  // namespace gantry
