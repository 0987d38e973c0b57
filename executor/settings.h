// The executor's settings, once: gantry-executor reads them by it, and `gantry executor --help`
// shows them.
#pragma once

#include <string>
#include <string_view>

#include "executor/config.h"

namespace gantry {
struct TextSetting {
  std::string_view flag;  // without the dashes
  std::string Config::* text;
  std::string_view value;  // what help calls the value
  std::string_view help;
};
inline constexpr TextSetting kTextSettings[] = {
    {"runtime-dir", &Config::runtime_dir, "DIR", "sockets and records; dies with the kernel"},
    {"data-dir", &Config::data_dir, "DIR",
     "images, sandboxes, checkpoints; outlives the kernel (default /var/lib/gantry)"},
    {"socket", &Config::socket, "PATH", "where to listen (default: RUNTIME_DIR/gantry.sock)"},
    {"cgroup-root", &Config::cgroup_root, "CGROUP",
     "below this cgroup, in every hierarchy (default /gantry)"},
    {"listen-insecure", &Config::listen_insecure, "127.0.0.1:PORT",
     "for local frameworks: scheduler API only, root for every local user"},
    {"listen-metrics", &Config::listen_metrics, "ADDRESS:PORT",
     "for Prometheus: GET /metrics and /health, read by whoever can connect"},
    {"listen-tls", &Config::listen_tls, "ADDRESS:PORT",
     "for other machines: the whole API over TLS, for who has a certificate or the token"},
    {"listen-tls-cert", &Config::listen_tls_cert, "FILE",
     "this host's certificate and its chain, PEM; an absolute path, as the four below"},
    {"listen-tls-key", &Config::listen_tls_key, "FILE",
     "its key, PEM, which not every user may read"},
    {"listen-tls-client-ca", &Config::listen_tls_client_ca, "FILE",
     "who has a certificate of this CA is root here"},
    {"listen-tls-crl", &Config::listen_tls_crl, "FILE",
     "revocation lists of that CA, PEM: whose certificates do not count; read anew when it "
     "changes"},
    {"listen-tls-token-file", &Config::listen_tls_token_file, "FILE",
     "who says the token in this file, of mode 600, is root here"},
    {"criu", &Config::criu, "PROGRAM", "the criu program for checkpoint and restore"},
    {"network-pool", &Config::network_pool, "CIDR", "addresses of bridge networks"},
    {"log-file", &Config::log_file, "FILE",
     "the executor's own log (default: stderr; on demand: DATA_DIR/executor.log)"},
    {"log-file-max-size", &Config::log_file_max_size, "SIZE",
     "begin a new file of it, and of DATA_DIR/audit.log, at so many bytes; 0: never (default 10m)"},
    {"log-max-size", &Config::log_max_size, "SIZE",
     "begin a new log file of a container at so many bytes, e.g. 10m (default: never)"},
    {"failpoints", &Config::failpoints, "NAME=ACTION[,...]", "for tests (see --list-failpoints)"},
};

struct NumberSetting {
  std::string_view flag;
  int Config::* number;
  int least, most;
  std::string_view value;
  std::string_view help;
};
inline constexpr NumberSetting kNumberSettings[] = {
    {"idle-exit-seconds", &Config::idle_exit_seconds, 0, 86400 * 365, "SECONDS",
     "on demand: leave after this long without work (default 60)"},
    {"exited-containers", &Config::exited_containers, 0, 1'000'000, "N",
     "exited ones kept until they are removed; more: the oldest go (default 20000)"},
    {"exited-seconds", &Config::exited_seconds, 0, 86400 * 365, "SECONDS",
     "how long an exited one is kept (default 86400, a day)"},
    {"disk-headroom-percent", &Config::disk_headroom_percent, 0, 99, "PERCENT",
     "while less of DATA_DIR's disk is free the oldest exited go; 0: they stay (default 10)"},
    {"log-max-files", &Config::log_max_files, 1, 1000, "N",
     "log files kept of each stream of a container, with the current one (default 1)"},
    {"log-file-max-files", &Config::log_file_max_files, 1, 1000, "N",
     "files kept of each of the two, with the current one (default 3)"},
    {"prepared-children", &Config::prepared_children, 0, 1000, "N",
     "children kept ready for the next launches, of each kind; 0: none (default 32)"},
};

// In the file: data_dir.
std::string setting_key(std::string_view flag);

inline constexpr std::string_view kConfigFile = "/etc/gantry/config.json";
inline constexpr std::string_view kConfigHelp =
    "a JSON object of these settings (default /etc/gantry/config.json)";
}  // namespace gantry
