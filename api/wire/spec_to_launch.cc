// A ContainerSpec as the launch that asks for it.
#include <sys/resource.h>

#include "api/wire/parse.h"

namespace gantry::wire {
namespace {
using Resources = GantrySpec::Resources;

void to_process(const ProcessSpec& in, GantrySpec& out) {
  for (const auto& arg : in.args) out.add_args(arg);
  if (in.entrypoint) {
    out.mutable_entrypoint();
    for (const auto& arg : *in.entrypoint) out.mutable_entrypoint()->add_args(arg);
  }
  for (const auto& variable : in.env) out.add_env(variable);
  if (!in.cwd.empty()) out.set_cwd(in.cwd);
  if (!in.user.text.empty()) out.set_user(in.user.text);
  for (const auto& group : in.user.additional_groups) out.add_additional_groups(group);
  out.set_tty(in.terminal);
  out.mutable_window_size()->set_rows(in.rows);
  out.mutable_window_size()->set_columns(in.columns);
  out.set_open_stdin(in.open_stdin);
  if (in.init) out.set_init(true);
  static constexpr std::pair<int, const char*> kNames[] = {
      {RLIMIT_AS, "as"},           {RLIMIT_CORE, "core"},         {RLIMIT_CPU, "cpu"},
      {RLIMIT_DATA, "data"},       {RLIMIT_FSIZE, "fsize"},       {RLIMIT_LOCKS, "locks"},
      {RLIMIT_MEMLOCK, "memlock"}, {RLIMIT_MSGQUEUE, "msgqueue"}, {RLIMIT_NICE, "nice"},
      {RLIMIT_NOFILE, "nofile"},   {RLIMIT_NPROC, "nproc"},       {RLIMIT_RSS, "rss"},
      {RLIMIT_RTPRIO, "rtprio"},   {RLIMIT_RTTIME, "rttime"},     {RLIMIT_SIGPENDING, "sigpending"},
      {RLIMIT_STACK, "stack"}};
  for (const Rlimit& limit : in.rlimits) {
    auto* made = out.add_ulimits();
    for (const auto& [number, name] : kNames) {
      if (number == limit.resource) made->set_name(name);
    }
    made->set_soft(limit.soft == RLIM_INFINITY ? -1 : static_cast<int64_t>(limit.soft));
    made->set_hard(limit.hard == RLIM_INFINITY ? -1 : static_cast<int64_t>(limit.hard));
  }
  if (in.oom_score_adj) out.set_oom_score_adj(*in.oom_score_adj);
  out.set_umask(in.umask);
}

void to_security(const SecuritySpec& in, GantrySpec& out) {
  auto names = [](uint64_t mask, auto add) {
    for (int bit = 0; bit <= last_capability(); ++bit) {
      if ((mask >> bit & 1) == 0) continue;
      const int number = CapabilityInfo::CHOWN + bit;
      add("CAP_" +
          CapabilityInfo::Capability_Name(static_cast<CapabilityInfo::Capability>(number)));
    }
  };
  auto* sets = out.mutable_capabilities();
  names(in.capabilities.bounding, [&](const std::string& n) { sets->add_bounding(n); });
  names(in.capabilities.effective, [&](const std::string& n) { sets->add_effective(n); });
  names(in.capabilities.permitted, [&](const std::string& n) { sets->add_permitted(n); });
  names(in.capabilities.inheritable, [&](const std::string& n) { sets->add_inheritable(n); });
  names(in.capabilities.ambient, [&](const std::string& n) { sets->add_ambient(n); });
  if (in.seccomp.mode != SeccompSpec::Mode::default_profile) {
    const bool profile = in.seccomp.mode == SeccompSpec::Mode::profile;
    out.mutable_seccomp()->set_mode(profile ? GantrySpec::Seccomp::PROFILE
                                            : GantrySpec::Seccomp::UNCONFINED);
    if (profile) out.mutable_seccomp()->set_profile_json(in.seccomp.profile_json);
  }
  out.set_no_new_privileges(in.no_new_privileges);
  out.set_read_only(in.read_only_root);
  out.set_masked_paths(in.masked_paths);
  for (const auto& [name, value] : in.sysctls) (*out.mutable_sysctls())[name] = value;
}

void to_throttles(const std::vector<ThrottleDevice>& in, auto* out) {
  for (const ThrottleDevice& device : in) {
    auto* made = out->Add();
    made->set_major_number(device.major);
    made->set_minor_number(device.minor);
    made->set_rate(device.rate);
  }
}

void to_resources(const ResourceSpec& in, Resources& out) {
  if (in.cpu_shares) out.set_cpu_shares(*in.cpu_shares);
  if (in.cpu_quota) out.set_cpu_quota_us(in.cpu_quota->count());
  if (in.cpu_period) out.set_cpu_period_us(static_cast<uint64_t>(in.cpu_period->count()));
  if (in.cpuset_cpus) out.set_cpuset_cpus(*in.cpuset_cpus);
  if (in.cpuset_mems) out.set_cpuset_mems(*in.cpuset_mems);
  if (in.memory_limit) out.set_memory_limit_bytes(*in.memory_limit);
  if (in.memory_reservation) out.set_memory_reservation_bytes(*in.memory_reservation);
  if (in.memory_swap) out.set_memory_swap_bytes(*in.memory_swap);
  if (in.pids_limit) out.set_pids_limit(*in.pids_limit);
  if (in.blkio_weight) out.set_blkio_weight(*in.blkio_weight);
  to_throttles(in.read_bps, out.mutable_read_bps());
  to_throttles(in.write_bps, out.mutable_write_bps());
  to_throttles(in.read_iops, out.mutable_read_iops());
  to_throttles(in.write_iops, out.mutable_write_iops());
  for (const DeviceRule& rule : in.device_rules) {
    auto* made = out.add_device_rules();
    made->set_type(std::string(1, rule.type));
    if (rule.major) made->set_major_number(*rule.major);
    if (rule.minor) made->set_minor_number(*rule.minor);
    made->set_access(rule.access);
    made->set_allow(rule.allow);
  }
}

void to_mount(const MountSpec& in, GantrySpec::Mount& out) {
  using Mount = GantrySpec::Mount;
  static constexpr Mount::Propagation kPropagations[] = {
      Mount::PRIVATE, Mount::RPRIVATE, Mount::SLAVE, Mount::RSLAVE, Mount::SHARED, Mount::RSHARED};
  out.set_type(in.type == MountSpec::Type::bind    ? Mount::BIND
               : in.type == MountSpec::Type::tmpfs ? Mount::TMPFS
                                                   : Mount::VOLUME);
  if (!in.source.empty()) out.set_source(in.source);
  out.set_destination(in.destination);
  out.set_read_only(in.read_only);
  out.set_recursive(in.recursive);
  out.set_nosuid(in.nosuid);
  out.set_nodev(in.nodev);
  out.set_noexec(in.noexec);
  out.set_propagation(kPropagations[static_cast<int>(in.propagation)]);
  if (in.size) out.set_size_bytes(*in.size);
  if (in.mode) out.set_mode(*in.mode);
}

void to_namespace(const NamespaceChoice& in, GantrySpec::Namespace* out) {
  using Kind = NamespaceChoice::Kind;
  out->set_kind(in.kind == Kind::private_ ? GantrySpec::Namespace::PRIVATE
                : in.kind == Kind::host   ? GantrySpec::Namespace::HOST
                                          : GantrySpec::Namespace::JOIN);
  if (in.kind == Kind::join) out->set_path(in.path);
}

void to_network(const NetworkSpec& in, GantrySpec::Network& out) {
  out.set_mode(in.mode == NetworkSpec::Mode::none   ? GantrySpec::Network::NONE
               : in.mode == NetworkSpec::Mode::host ? GantrySpec::Network::HOST
                                                    : GantrySpec::Network::BRIDGE);
  for (const PortMapping& port : in.ports) {
    auto* made = out.add_ports();
    made->set_host_port(port.host_port);
    made->set_container_port(port.container_port);
    made->set_protocol(port.protocol == PortMapping::Protocol::udp ? "udp" : "tcp");
    if (!port.host_ip.empty()) made->set_host_ip(port.host_ip);
  }
  for (const auto& server : in.dns_servers) out.add_dns_servers(server);
  for (const auto& [name, address] : in.extra_hosts) {
    out.add_extra_hosts()->set_name(name);
    out.mutable_extra_hosts()->rbegin()->set_address(address);
  }
}

void to_health(const HealthSpec& in, GantrySpec::Health& out) {
  if (in.is_off) out.set_off(true);
  for (const std::string& arg : in.args) out.add_args(arg);
  const auto ms = [](HealthSpec::Time time) { return static_cast<uint64_t>(time.count()); };
  if (in.interval) out.set_interval_ms(ms(*in.interval));
  if (in.timeout) out.set_timeout_ms(ms(*in.timeout));
  if (in.start_period) out.set_start_period_ms(ms(*in.start_period));
  if (in.start_interval) out.set_start_interval_ms(ms(*in.start_interval));
  if (in.retries) out.set_retries(*in.retries);
  if (in.on_failure != HealthSpec::OnFailure::none) {
    out.set_on_failure(static_cast<GantrySpec::Health::OnFailure>(in.on_failure));
  }
}
}  // namespace

agent::Call::LaunchContainer to_launch(const ContainerId& id, const ContainerSpec& spec) {
  agent::Call::LaunchContainer launch;
  *launch.mutable_container_id() = to_wire(id);
  GantrySpec& out = *launch.mutable_gantry_spec();
  if (!spec.name.empty()) out.set_name(spec.name);
  if (const auto* image = std::get_if<ImageRoot>(&spec.root)) out.set_image(image->reference);
  if (const auto* rootfs = std::get_if<DirectoryRoot>(&spec.root)) out.set_rootfs(rootfs->path);
  to_process(spec.process, out);
  to_security(spec.security, out);
  to_resources(spec.resources, *out.mutable_resources());
  for (const MountSpec& mount : spec.mounts) to_mount(mount, *out.add_mounts());
  for (const DeviceNode& device : spec.devices) {
    auto* made = out.add_devices();
    made->set_path(device.path);
    made->set_type(std::string(1, device.type));
    made->set_major_number(device.major);
    made->set_minor_number(device.minor);
    made->set_mode(device.mode);
    made->set_uid(device.uid);
    made->set_gid(device.gid);
  }
  auto* namespaces = out.mutable_namespaces();
  to_namespace(spec.namespaces.pid, namespaces->mutable_pid());
  to_namespace(spec.namespaces.mount, namespaces->mutable_mount());
  to_namespace(spec.namespaces.uts, namespaces->mutable_uts());
  to_namespace(spec.namespaces.ipc, namespaces->mutable_ipc());
  to_namespace(spec.namespaces.cgroup, namespaces->mutable_cgroup());
  to_namespace(spec.namespaces.network, namespaces->mutable_network());
  to_network(spec.network, *out.mutable_network());
  if (!spec.hostname.empty()) out.set_hostname(spec.hostname);
  for (const FetchUri& uri : spec.uris) {
    auto* made = out.add_uris();
    made->set_uri(uri.uri);
    if (uri.sha256) made->set_sha256(*uri.sha256);
    made->set_executable(uri.executable);
    made->set_extract(uri.extract);
    if (!uri.output_file.empty()) made->set_output_file(uri.output_file);
  }
  for (const auto& [key, value] : spec.labels) (*out.mutable_labels())[key] = value;
  if (!spec.stop_signal.empty()) out.set_stop_signal(spec.stop_signal);
  out.set_stop_timeout_seconds(static_cast<uint32_t>(spec.stop_timeout.count()));
  out.set_remove_on_exit(spec.remove_on_exit);
  if (spec.restart.kind != RestartPolicy::Kind::no) {
    using Restart = GantrySpec::Restart;
    out.mutable_restart()->set_policy(
        spec.restart.kind == RestartPolicy::Kind::on_failure ? Restart::ON_FAILURE
        : spec.restart.kind == RestartPolicy::Kind::always   ? Restart::ALWAYS
                                                             : Restart::UNLESS_STOPPED);
    if (spec.restart.most_restarts != 0) {
      out.mutable_restart()->set_maximum_retries(spec.restart.most_restarts);
    }
  }
  if (spec.log.max_size) out.mutable_log()->set_max_size_bytes(*spec.log.max_size);
  if (spec.log.max_files) out.mutable_log()->set_max_files(*spec.log.max_files);
  if (spec.health) to_health(*spec.health, *out.mutable_health());
  if (!spec.cgroup_parent.empty()) out.set_cgroup_parent(spec.cgroup_parent);
  if (!spec.sandbox_mount.empty()) out.set_sandbox_mount(spec.sandbox_mount);
  return launch;
}
}  // namespace gantry::wire
