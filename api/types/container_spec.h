// What a container shall be: desired state, already validated. Requests (JSON, protobuf, command
// line through the API) are parsed into this once, in api/; nothing downstream checks again.
// The image's own configuration is merged in by the containerizer (merge_image_config).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/types/health.h"

namespace gantry {
using Bytes = uint64_t;

// ---- Process ---------------------------------------------------------------------------------

// As requested: "name", "uid", "uid:gid", "name:group"; empty means the image's user, else root.
// Numeric text is never looked up by name.
struct UserSpec {
  std::string text;
  std::vector<std::string> additional_groups;
  bool operator==(const UserSpec&) const = default;
};
// As resolved against the container's own user database.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary, without gid
  std::string home = "/root";
};
struct Rlimit {
  int resource;   // RLIMIT_…
  uint64_t soft;  // RLIM_INFINITY for unlimited
  uint64_t hard;
};
struct ProcessSpec {
  std::vector<std::string> args;                       // empty: the image's entrypoint and cmd
  std::optional<std::vector<std::string>> entrypoint;  // overrides the image's
  std::vector<std::string> env;                        // NAME=VALUE; later ones win
  std::string cwd;                                     // absolute; empty: the image's, else "/"
  UserSpec user;
  bool terminal = false;
  uint16_t rows = 24, columns = 80;  // of the terminal
  bool open_stdin = false;           // a pipe; else /dev/null
  bool init = false;                 // gantry-init as PID 1, args below it
  std::vector<Rlimit> rlimits;
  std::optional<int> oom_score_adj;
  mode_t umask = 0022;
};

// ---- Security --------------------------------------------------------------------------------

// Bit N is capability N of capabilities(7).
struct CapabilitySpec {
  uint64_t bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;
};
// Docker's default set without CAP_NET_RAW: 13 capabilities.
CapabilitySpec default_capabilities();
struct SeccompSpec {
  enum class Mode { default_profile, unconfined, profile } mode = Mode::default_profile;
  std::string profile_json;  // Docker's format, with Mode::profile
};
struct SecuritySpec {
  CapabilitySpec capabilities = default_capabilities();
  SeccompSpec seccomp;
  bool no_new_privileges = true;
  bool read_only_root = false;
  bool masked_paths = true;                    // the default masked and read-only paths
  std::map<std::string, std::string> sysctls;  // namespaced ones only
};

// ---- Resources -------------------------------------------------------------------------------

struct DeviceRule {
  char type;                             // 'a', 'b', 'c'
  std::optional<uint32_t> major, minor;  // empty: any
  std::string access;                    // of "rwm"
  bool allow = true;
};
struct DeviceNode {  // made in /dev and allowed
  std::string path;
  char type;
  uint32_t major, minor;
  mode_t mode = 0666;
  uid_t uid = 0;
  gid_t gid = 0;
};
struct ThrottleDevice {
  uint32_t major, minor;
  uint64_t rate;  // bytes or operations a second
};
struct ResourceSpec {
  std::optional<uint64_t> cpu_shares;  // 2 … 262144
  std::optional<std::chrono::microseconds> cpu_quota, cpu_period;
  std::optional<std::string> cpuset_cpus, cpuset_mems;  // kernel list format, "0-1,3"
  std::optional<Bytes> memory_limit, memory_reservation;
  std::optional<int64_t> memory_swap;    // memory + swap; -1 unlimited
  std::optional<int64_t> pids_limit;     // -1 unlimited
  std::optional<uint16_t> blkio_weight;  // 10 … 1000
  std::vector<ThrottleDevice> read_bps, write_bps, read_iops, write_iops;
  std::vector<DeviceRule> device_rules;  // after the default ones
};

// ---- File system -----------------------------------------------------------------------------

enum class Propagation { private_, rprivate, slave, rslave, shared, rshared };
struct MountSpec {
  enum class Type { bind, tmpfs, volume } type = Type::bind;
  std::string source;       // bind: absolute host path, opened by the child itself
  std::string destination;  // absolute path in the container
  bool read_only = false;
  bool recursive = true;  // bind: rbind
  bool nosuid = false, nodev = false, noexec = false;
  Propagation propagation = Propagation::rprivate;
  std::optional<Bytes> size;   // tmpfs
  std::optional<mode_t> mode;  // tmpfs
};

// Where the container's root comes from.
struct ImageRoot {
  std::string reference;  // name[:tag] or sha256:… of an image in the store
};
struct DirectoryRoot {
  std::string path;  // an absolute host directory, used as it is (--rootfs)
};
struct HostRoot {
};  // the host's root, in a mount namespace of its own (command tasks without image)
using RootSpec = std::variant<HostRoot, ImageRoot, DirectoryRoot>;

// ---- Namespaces and network ------------------------------------------------------------------

struct NamespaceChoice {
  enum class Kind { private_, host, join } kind = Kind::private_;
  std::string path;  // join: an nsfs path of the host, e.g. /proc/123/ns/net
};
struct NamespaceSpec {
  NamespaceChoice pid, mount, uts, ipc, cgroup, network;
};
struct PortMapping {
  uint16_t host_port;
  uint16_t container_port;
  enum class Protocol { tcp, udp } protocol = Protocol::tcp;
  std::string host_ip;  // empty: all
};
struct NetworkSpec {
  enum class Mode { none, host, bridge } mode = Mode::none;  // none: loopback up
  std::vector<PortMapping> ports;
  std::vector<std::string> dns_servers;
  std::vector<std::pair<std::string, std::string>> extra_hosts;  // name, address
};

// ---- The whole -------------------------------------------------------------------------------

struct FetchUri {
  std::string uri;                    // file:///abs or http(s)://
  std::optional<std::string> sha256;  // 64 hex digits
  bool executable = false;
  bool extract = false;
  std::string output_file;  // name in the sandbox; empty: the last part of the path
};

struct RestartPolicy {
  enum class Kind { no, on_failure, always, unless_stopped } kind = Kind::no;
  uint32_t most_restarts = 0;  // of on_failure; 0: any number
};

struct LogSpec {
  static constexpr Bytes kLeastSize = 1024, kMostSize = Bytes{1} << 62;
  static constexpr uint32_t kMostFiles = 1000;
  std::optional<Bytes> max_size;      // of one file; 0: any
  std::optional<uint32_t> max_files;  // of a stream, the current one counts
};

struct ContainerSpec {
  std::string name;  // unique among live records; empty: none
  RootSpec root;
  ProcessSpec process;
  SecuritySpec security;
  ResourceSpec resources;
  std::vector<MountSpec> mounts;
  std::vector<DeviceNode> devices;
  NamespaceSpec namespaces;
  NetworkSpec network;
  std::string hostname;  // empty: the first 12 characters of the id
  std::vector<FetchUri> uris;
  std::map<std::string, std::string> labels;  // data only, never control
  std::string stop_signal;                    // empty: the image's, else SIGTERM
  std::chrono::seconds stop_timeout{10};
  bool remove_on_exit = false;
  RestartPolicy restart;
  LogSpec log;  // absent: the executor's settings
  std::optional<HealthSpec> health;
  std::string cgroup_parent;  // "web/front"; empty: none
  bool is_session = false;    // it ends with the client that launched it
  // Command tasks: where the sandbox appears inside; empty: not mounted.
  std::string sandbox_mount;
  // The request as it came (framed by api/), kept for restart and for `inspect`; opaque here.
  std::string request_bytes;
};
}  // namespace gantry
