// The Gantry half of a launch: GantrySpec into ContainerSpec. Limits are in parse_resources.cc.
#include <sys/resource.h>

#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
constexpr std::chrono::seconds kMaxStop{365 * 86400};

class GantryParser {
 public:
  GantryParser(const Field& field, const GantrySpec& in, ContainerSpec& out)
      : field_(field), in_(in), out_(out) {}

  Result<void> parse() {
    GANTRY_TRY(root());
    GANTRY_TRY(process());
    GANTRY_TRY(terminal_and_limits());
    GANTRY_TRY(capabilities());
    GANTRY_TRY(security());
    if (in_.has_resources())
      GANTRY_TRY(add_resources(field_ / "resources", in_.resources(), out_.resources));
    GANTRY_TRY(mounts(field_ / "mounts"));
    GANTRY_TRY(devices(field_ / "devices"));
    GANTRY_TRY(uris(field_ / "uris"));
    GANTRY_TRY(namespaces());
    if (in_.has_network()) GANTRY_TRY(network(field_ / "network", in_.network()));
    return life();
  }

 private:
  Result<void> root() {
    const int roots =
        std::holds_alternative<ImageRoot>(out_.root) + in_.has_image() + in_.has_rootfs();
    if (roots > 1) return invalid(field_, "give one of image, rootfs and container.mesos.image");
    if (in_.has_image()) {
      GANTRY_TRY(check_image_reference(field_ / "image", in_.image()));
      out_.root = ImageRoot{in_.image()};
    }
    if (in_.has_rootfs()) {
      GANTRY_TRY(check_absolute_path(field_ / "rootfs", in_.rootfs()));
      if (in_.rootfs().find_first_not_of('/') == std::string::npos) {
        return invalid(field_ / "rootfs", "must not be the host's root directory");
      }
      out_.root = DirectoryRoot{in_.rootfs()};
    }
    return {};
  }

  Result<void> process() {
    auto& process = out_.process;
    GANTRY_TRY(check_count(field_ / "args", in_.args_size()));
    if (in_.args_size() != 0) {
      if (!process.args.empty()) return invalid(field_ / "args", "excludes command.value");
      process.args.assign(in_.args().begin(), in_.args().end());
    }
    if (in_.has_entrypoint()) {
      GANTRY_TRY(check_count(field_ / "entrypoint" / "args", in_.entrypoint().args_size()));
      const auto& args = in_.entrypoint().args();
      process.entrypoint.emplace(args.begin(), args.end());
    }
    const Field env = field_ / "env";
    GANTRY_TRY(check_count(env, in_.env_size()));
    for (int i = 0; i < in_.env_size(); ++i) {
      GANTRY_TRY(check_environment(env[i], in_.env(i)));
      process.env.push_back(in_.env(i));
    }
    if (in_.has_cwd()) {
      GANTRY_TRY(check_absolute_path(field_ / "cwd", in_.cwd()));
      // CVE-2024-21626: /proc/self/fd/N is a directory of the host.
      if (in_.cwd() == "/proc" || in_.cwd().starts_with("/proc/")) {
        return invalid(field_ / "cwd", "must not be in /proc");
      }
      process.cwd = in_.cwd();
    }
    if (in_.has_user()) {
      GANTRY_TRY(check_user(field_ / "user", in_.user()));
      process.user.text = in_.user();
    }
    const Field groups = field_ / "additional_groups";
    GANTRY_TRY(check_count(groups, in_.additional_groups_size()));
    for (int i = 0; i < in_.additional_groups_size(); ++i) {
      GANTRY_TRY(check_group(groups[i], in_.additional_groups(i)));
      process.user.additional_groups.push_back(in_.additional_groups(i));
    }
    return {};
  }

  Result<void> terminal_and_limits() {
    auto& process = out_.process;
    if (in_.has_tty()) process.terminal = in_.tty();
    if (in_.has_init()) process.init = in_.init();
    if (in_.has_open_stdin()) process.open_stdin = in_.open_stdin();
    if (in_.has_window_size()) {
      const auto& size = in_.window_size();
      if (size.rows() > 65535 || size.columns() > 65535) {
        return invalid(field_ / "window_size", "rows and columns are at most 65535");
      }
      process.rows = static_cast<uint16_t>(size.rows());
      process.columns = static_cast<uint16_t>(size.columns());
    }
    const Field ulimits = field_ / "ulimits";
    for (int i = 0; i < in_.ulimits_size(); ++i) {
      const auto& limit = in_.ulimits(i);
      const Field here = ulimits[i];
      const int number = GANTRY_TRY(parse_rlimit_name(here / "name", limit.name()));
      for (const Rlimit& other : process.rlimits) {
        if (other.resource == number) return invalid(here / "name", "is given twice");
      }
      const int64_t hard_value = limit.has_hard() ? limit.hard() : limit.soft();
      if (limit.soft() < -1) return invalid(here / "soft", "must be at least 0, or -1 (unlimited)");
      if (hard_value < -1) return invalid(here / "hard", "must be at least 0, or -1 (unlimited)");
      const uint64_t soft = limit.soft() < 0 ? RLIM_INFINITY : static_cast<uint64_t>(limit.soft());
      const uint64_t hard = hard_value < 0 ? RLIM_INFINITY : static_cast<uint64_t>(hard_value);
      if (soft > hard) return invalid(here / "soft", "must not be above hard");
      process.rlimits.push_back({number, soft, hard});
    }
    if (in_.has_oom_score_adj()) {
      if (in_.oom_score_adj() < -1000 || in_.oom_score_adj() > 1000) {
        return invalid(field_ / "oom_score_adj", "must be -1000 to 1000");
      }
      process.oom_score_adj = in_.oom_score_adj();
    }
    if (in_.umask() > 0777) return invalid(field_ / "umask", "must be at most 0777 (511)");
    process.umask = in_.umask();
    return {};
  }

  Result<uint64_t> mask(const Field& field, const auto& names) {
    uint64_t out = 0;
    for (int i = 0; i < names.size(); ++i) {
      out |= uint64_t{1} << GANTRY_TRY(parse_capability(field[i], names.Get(i)));
    }
    return out;
  }
  // The names of a list, and whether ALL is among them.
  Result<std::pair<uint64_t, bool>> mask_or_all(const Field& field, const auto& names) {
    std::pair<uint64_t, bool> out{0, false};
    for (int i = 0; i < names.size(); ++i) {
      if (names.Get(i) == "ALL" || names.Get(i) == "all") {
        out.second = true;
      } else {
        out.first |= uint64_t{1} << GANTRY_TRY(parse_capability(field[i], names.Get(i)));
      }
    }
    return out;
  }

  Result<void> capabilities() {
    auto& out = out_.security.capabilities;
    const bool tweaks = in_.cap_add_size() + in_.cap_drop_size() != 0;
    if (in_.has_capabilities()) {
      if (tweaks) return invalid(field_ / "capabilities", "excludes cap_add and cap_drop");
      const auto& sets = in_.capabilities();
      const Field here = field_ / "capabilities";
      out.bounding = GANTRY_TRY(mask(here / "bounding", sets.bounding()));
      out.effective = GANTRY_TRY(mask(here / "effective", sets.effective()));
      out.permitted = GANTRY_TRY(mask(here / "permitted", sets.permitted()));
      out.inheritable = GANTRY_TRY(mask(here / "inheritable", sets.inheritable()));
      out.ambient = GANTRY_TRY(mask(here / "ambient", sets.ambient()));
      // KERNEL: capset(2) and PR_CAP_AMBIENT refuse anything else.
      if ((out.effective & ~out.permitted) != 0) {
        return invalid(here / "effective", "must be a subset of permitted");
      }
      if ((out.ambient & ~(out.permitted & out.inheritable)) != 0) {
        return invalid(here / "ambient", "must be a subset of permitted and of inheritable");
      }
      return {};
    }
    if (!tweaks) return {};
    // As Docker: ALL added starts from everything, ALL dropped from nothing.
    const auto [add, add_all] = GANTRY_TRY(mask_or_all(field_ / "cap_add", in_.cap_add()));
    const auto [drop, drop_all] = GANTRY_TRY(mask_or_all(field_ / "cap_drop", in_.cap_drop()));
    const uint64_t everything = (uint64_t{1} << (last_capability() + 1)) - 1;
    uint64_t result = (out.effective & ~drop) | add;
    if (add_all) {
      result = everything & ~drop;
    } else if (drop_all) {
      result = add;
    }
    out.bounding = out.effective = out.permitted = result;
    out.inheritable = out.ambient = 0;
    return {};
  }

  Result<void> security() {
    auto& security = out_.security;
    security.no_new_privileges = in_.no_new_privileges();
    security.read_only_root = in_.read_only();
    security.masked_paths = in_.masked_paths();
    if (in_.has_seccomp()) {
      // CVE-2023-2431: nothing malformed may end up unconfined.
      const Field here = field_ / "seccomp";
      const auto& seccomp = in_.seccomp();
      const bool profile = seccomp.mode() == GantrySpec::Seccomp::PROFILE;
      if (seccomp.mode() == GantrySpec::Seccomp::UNKNOWN) {
        return invalid(here / "mode", "must be DEFAULT, UNCONFINED or PROFILE");
      }
      if (profile != !seccomp.profile_json().empty()) {
        return invalid(here / "profile_json",
                       "goes together with the mode PROFILE, and only with it");
      }
      GANTRY_TRY(check_text(here / "profile_json", seccomp.profile_json(), 1u << 20));
      security.seccomp.mode = profile ? SeccompSpec::Mode::profile
                              : seccomp.mode() == GantrySpec::Seccomp::UNCONFINED
                                  ? SeccompSpec::Mode::unconfined
                                  : SeccompSpec::Mode::default_profile;
      security.seccomp.profile_json = seccomp.profile_json();
    }
    GANTRY_TRY(check_count(field_ / "sysctls", static_cast<int>(in_.sysctls().size())));
    for (const auto& [name, value] : in_.sysctls()) security.sysctls[name] = value;
    return {};
  }

  Result<void> mounts(const Field& field) {
    static constexpr Propagation kPropagations[] = {
        Propagation::rprivate, Propagation::private_, Propagation::rprivate, Propagation::slave,
        Propagation::rslave,   Propagation::shared,   Propagation::rshared};
    GANTRY_TRY(check_count(field, in_.mounts_size()));
    for (int i = 0; i < in_.mounts_size(); ++i) {
      const auto& in = in_.mounts(i);
      const Field here = field[i];
      MountSpec out;
      switch (in.type()) {
        case GantrySpec::Mount::BIND:
          out.type = MountSpec::Type::bind;
          GANTRY_TRY(check_absolute_path(here / "source", in.source()));
          break;
        case GantrySpec::Mount::TMPFS:
          out.type = MountSpec::Type::tmpfs;
          if (in.has_source()) return invalid(here / "source", "has no meaning for TMPFS");
          break;
        case GantrySpec::Mount::VOLUME:
          out.type = MountSpec::Type::volume;
          if (in.has_source()) GANTRY_TRY(check_container_name(here / "source", in.source()));
          break;
        default:
          return invalid(here / "type", "must be BIND, TMPFS or VOLUME");
      }
      if (out.type != MountSpec::Type::tmpfs && (in.has_size_bytes() || in.has_mode())) {
        return invalid(here, "size_bytes and mode are for TMPFS");
      }
      GANTRY_TRY(check_mount_point(here / "destination", in.destination()));
      out.source = in.source();
      out.destination = in.destination();
      out.read_only = in.read_only();
      out.recursive = in.recursive();
      out.nosuid = in.nosuid();
      out.nodev = in.nodev();
      out.noexec = in.noexec();
      out.propagation = kPropagations[in.propagation()];
      if (in.has_size_bytes()) {
        if (in.size_bytes() == 0 || in.size_bytes() > kMaxBytes) {
          return invalid(here / "size_bytes", "must be above 0");
        }
        out.size = in.size_bytes();
      }
      if (in.has_mode()) {
        if (in.mode() > 07777) return invalid(here / "mode", "must be at most 07777 (4095)");
        out.mode = in.mode();
      }
      out_.mounts.push_back(std::move(out));
    }
    return {};
  }

  Result<void> devices(const Field& field) {
    GANTRY_TRY(check_count(field, in_.devices_size()));
    for (int i = 0; i < in_.devices_size(); ++i) {
      const auto& in = in_.devices(i);
      const Field here = field[i];
      GANTRY_TRY(check_absolute_path(here / "path", in.path()));
      if (!in.path().starts_with("/dev/") || in.path().back() == '/') {
        return invalid(here / "path", "must be a file below /dev");
      }
      if (in.type() != "b" && in.type() != "c") return invalid(here / "type", "must be b or c");
      if (in.mode() > 0777) return invalid(here / "mode", "must be at most 0777 (511)");
      if (in.uid() == UINT32_MAX) return invalid(here / "uid", "must be at most 4294967294");
      if (in.gid() == UINT32_MAX) return invalid(here / "gid", "must be at most 4294967294");
      GANTRY_TRY(check_device_number(here, in.major_number(), in.minor_number()));
      out_.devices.push_back({.path = in.path(),
                              .type = in.type()[0],
                              .major = in.major_number(),
                              .minor = in.minor_number(),
                              .mode = in.mode(),
                              .uid = in.uid(),
                              .gid = in.gid()});
    }
    return {};
  }

  Result<void> uris(const Field& field) {
    GANTRY_TRY(check_count(field, in_.uris_size()));
    for (int i = 0; i < in_.uris_size(); ++i) {
      const auto& in = in_.uris(i);
      const Field here = field[i];
      GANTRY_TRY(check_line(here / "uri", in.uri(), 8192));
      FetchUri out{.uri = in.uri(),
                   .sha256 = {},
                   .executable = in.executable(),
                   .extract = in.extract(),
                   .output_file = in.output_file()};
      if (in.has_sha256()) {
        GANTRY_TRY(check_sha256(here / "sha256", in.sha256()));
        out.sha256 = in.sha256();
      }
      if (in.has_output_file()) {
        GANTRY_TRY(check_relative_path(here / "output_file", in.output_file()));
      }
      out_.uris.push_back(std::move(out));
    }
    return {};
  }

  Result<void> one_namespace(const Field& field, bool given, const GantrySpec::Namespace& in,
                             NamespaceChoice& out) {
    if (!given) return {};
    switch (in.kind()) {
      case GantrySpec::Namespace::PRIVATE:
        out.kind = NamespaceChoice::Kind::private_;
        break;
      case GantrySpec::Namespace::HOST:
        out.kind = NamespaceChoice::Kind::host;
        break;
      case GantrySpec::Namespace::JOIN:
        out.kind = NamespaceChoice::Kind::join;
        GANTRY_TRY(check_absolute_path(field / "path", in.path()));
        out.path = in.path();
        return {};
      default:
        return invalid(field / "kind", "must be PRIVATE, HOST or JOIN");
    }
    if (in.has_path()) return invalid(field / "path", "is for the kind JOIN");
    return {};
  }

  Result<void> namespaces() {
    const auto& in = in_.namespaces();
    auto& out = out_.namespaces;
    const Field here = field_ / "namespaces";
    GANTRY_TRY(one_namespace(here / "pid", in.has_pid(), in.pid(), out.pid));
    GANTRY_TRY(one_namespace(here / "mount", in.has_mount(), in.mount(), out.mount));
    GANTRY_TRY(one_namespace(here / "uts", in.has_uts(), in.uts(), out.uts));
    GANTRY_TRY(one_namespace(here / "ipc", in.has_ipc(), in.ipc(), out.ipc));
    GANTRY_TRY(one_namespace(here / "cgroup", in.has_cgroup(), in.cgroup(), out.cgroup));
    GANTRY_TRY(one_namespace(here / "network", in.has_network(), in.network(), out.network));
    if (out.mount.kind == NamespaceChoice::Kind::host) {
      return invalid(here / "mount" / "kind",
                     "must be PRIVATE or JOIN: mounts are never the host's");
    }
    if (in_.has_sandbox_mount()) {
      GANTRY_TRY(check_mount_point(field_ / "sandbox_mount", in_.sandbox_mount()));
      out_.sandbox_mount = in_.sandbox_mount();
    }
    return {};
  }

  Result<void> network(const Field& field, const GantrySpec::Network& in) {
    auto& out = out_.network;
    switch (in.mode()) {
      case GantrySpec::Network::NONE:
        out.mode = NetworkSpec::Mode::none;
        break;
      case GantrySpec::Network::HOST:
        out.mode = NetworkSpec::Mode::host;
        break;
      case GantrySpec::Network::BRIDGE:
        out.mode = NetworkSpec::Mode::bridge;
        break;
      default:
        return invalid(field / "mode", "must be NONE, HOST or BRIDGE");
    }
    const Field ports = field / "ports";
    GANTRY_TRY(check_count(ports, in.ports_size()));
    for (int i = 0; i < in.ports_size(); ++i) {
      const auto& port = in.ports(i);
      const Field here = ports[i];
      if (out.mode != NetworkSpec::Mode::bridge) return invalid(ports, "need the mode BRIDGE");
      GANTRY_TRY(check_range(here / "host_port", port.host_port(), 0, 65535));
      GANTRY_TRY(check_range(here / "container_port", port.container_port(), 1, 65535));
      if (port.protocol() != "tcp" && port.protocol() != "udp") {
        return invalid(here / "protocol", "must be tcp or udp");
      }
      if (port.has_host_ip()) GANTRY_TRY(check_ip_address(here / "host_ip", port.host_ip()));
      out.ports.push_back(
          {static_cast<uint16_t>(port.host_port()), static_cast<uint16_t>(port.container_port()),
           port.protocol() == "udp" ? PortMapping::Protocol::udp : PortMapping::Protocol::tcp,
           port.host_ip()});
    }
    const Field dns = field / "dns_servers";
    GANTRY_TRY(check_count(dns, in.dns_servers_size()));
    for (int i = 0; i < in.dns_servers_size(); ++i) {
      GANTRY_TRY(check_ip_address(dns[i], in.dns_servers(i)));
      out.dns_servers.push_back(in.dns_servers(i));
    }
    const Field hosts = field / "extra_hosts";
    GANTRY_TRY(check_count(hosts, in.extra_hosts_size()));
    for (int i = 0; i < in.extra_hosts_size(); ++i) {
      const auto& host = in.extra_hosts(i);
      GANTRY_TRY(check_hostname(hosts[i] / "name", host.name()));
      GANTRY_TRY(check_ip_address(hosts[i] / "address", host.address()));
      out.extra_hosts.emplace_back(host.name(), host.address());
    }
    return {};
  }

  Result<void> life() {
    if (in_.has_name()) {
      GANTRY_TRY(check_container_name(field_ / "name", in_.name()));
      out_.name = in_.name();
    }
    if (in_.has_hostname()) {
      GANTRY_TRY(check_hostname(field_ / "hostname", in_.hostname()));
      out_.hostname = in_.hostname();
    }
    const Field labels = field_ / "labels";
    GANTRY_TRY(check_count(labels, static_cast<int>(in_.labels().size())));
    for (const auto& [key, value] : in_.labels()) {
      if (key.empty()) return invalid(labels, "must not have an empty key");
      GANTRY_TRY(check_line(labels, key, 256));
      GANTRY_TRY(check_text(labels, value, 65536));
      out_.labels[key] = value;
    }
    if (in_.has_stop_signal()) {
      GANTRY_TRY(parse_signal_name(field_ / "stop_signal", in_.stop_signal()));
      out_.stop_signal = in_.stop_signal();
    }
    if (std::chrono::seconds(in_.stop_timeout_seconds()) > kMaxStop) {
      return invalid(field_ / "stop_timeout_seconds", "must be at most a year (31536000)");
    }
    out_.stop_timeout = std::chrono::seconds(in_.stop_timeout_seconds());
    out_.remove_on_exit = in_.remove_on_exit();
    if (in_.has_cgroup_parent()) {
      GANTRY_TRY(check_cgroup_parent(field_ / "cgroup_parent", in_.cgroup_parent()));
      out_.cgroup_parent = in_.cgroup_parent();
    }
    GANTRY_TRY(log());
    if (in_.has_health()) GANTRY_TRY(add_health(field_ / "health", in_, out_));
    return restart();
  }

  Result<void> log() {
    const Field field = field_ / "log";
    const auto& log = in_.log();
    if (log.has_max_size_bytes()) {
      const Bytes size = log.max_size_bytes();
      if (size != 0 && (size < LogSpec::kLeastSize || size > LogSpec::kMostSize)) {
        return invalid(field / "max_size_bytes", "must be 0, or at least 1024");
      }
      out_.log.max_size = size;
    }
    if (log.has_max_files()) {
      if (log.max_files() == 0 || log.max_files() > LogSpec::kMostFiles) {
        return invalid(field / "max_files", "must be from 1 to 1000");
      }
      out_.log.max_files = log.max_files();
    }
    return {};
  }

  Result<void> restart() {
    const auto& restart = in_.restart();
    using Kind = RestartPolicy::Kind;
    switch (restart.policy()) {
      case GantrySpec::Restart::NO:
        break;
      case GantrySpec::Restart::ON_FAILURE:
        out_.restart.kind = Kind::on_failure;
        break;
      case GantrySpec::Restart::ALWAYS:
        out_.restart.kind = Kind::always;
        break;
      case GantrySpec::Restart::UNLESS_STOPPED:
        out_.restart.kind = Kind::unless_stopped;
        break;
    }
    out_.restart.most_restarts = restart.maximum_retries();
    if (restart.maximum_retries() != 0 && out_.restart.kind != Kind::on_failure) {
      return invalid(field_ / "restart" / "maximum_retries", "is only for ON_FAILURE");
    }
    if (out_.restart.kind != Kind::no && in_.remove_on_exit()) {
      return invalid(field_ / "restart",
                     "excludes remove_on_exit: what is removed cannot run again");
    }
    return {};
  }

  const Field& field_;
  const GantrySpec& in_;
  ContainerSpec& out_;
};
}  // namespace

Result<void> add_gantry_spec(const Field& field, const GantrySpec& in, ContainerSpec& spec) {
  return GantryParser(field, in, spec).parse();
}
}  // namespace gantry::wire
