// The Mesos half of a launch, field by field.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
constexpr double kMebibyte = 1024 * 1024;
// Mesos' containerizer gives no container less (MIN_CPU, MIN_MEMORY).
constexpr Bytes kMesosMinMemory = 32u << 20;
constexpr std::chrono::microseconds kPeriod{100'000};

class MesosParser {
 public:
  MesosParser(const Field& field, const agent::Call::LaunchContainer& in, ContainerSpec& out)
      : field_(field), in_(in), out_(out) {}

  Result<void> parse() {
    if (in_.has_container()) GANTRY_TRY(container(field_ / "container", in_.container()));
    if (in_.has_command()) GANTRY_TRY(command(field_ / "command", in_.command()));
    GANTRY_TRY(resources(field_ / "resources"));
    GANTRY_TRY(limits(field_ / "limits"));
    return {};
  }

 private:
  Result<void> command(const Field& field, const CommandInfo& in) {
    if (in.shell()) {
      if (!in.has_value()) return invalid(field / "value", "required where shell is true");
      if (in.arguments_size() != 0) {
        return invalid(field / "arguments", "have no meaning where shell is true");
      }
      out_.process.entrypoint.emplace();
      out_.process.args = {"/bin/sh", "-c", in.value()};
    } else if (in.has_value()) {
      if (in.value().empty()) return invalid(field / "value", "must not be empty");
      out_.process.entrypoint.emplace();
      out_.process.args = {in.value()};
      // arguments[0] is argv[0]; what is executed is `value`.
      for (int i = 1; i < in.arguments_size(); ++i) out_.process.args.push_back(in.arguments(i));
    } else {
      out_.process.args.assign(in.arguments().begin(), in.arguments().end());
    }
    GANTRY_TRY(check_count(field / "arguments", in.arguments_size()));
    GANTRY_TRY(check_text(field / "value", in.value(), kMaxArgument));
    for (int i = 0; i < in.arguments_size(); ++i) {
      GANTRY_TRY(check_text((field / "arguments")[i], in.arguments(i), kMaxArgument));
    }
    if (in.has_user()) {
      GANTRY_TRY(check_user(field / "user", in.user()));
      out_.process.user.text = in.user();
    }
    GANTRY_TRY(environment(field / "environment", in.environment()));
    return uris(field / "uris", in);
  }

  Result<void> environment(const Field& field, const Environment& in) {
    const Field variables = field / "variables";
    GANTRY_TRY(check_count(variables, in.variables_size()));
    for (int i = 0; i < in.variables_size(); ++i) {
      const auto& variable = in.variables(i);
      const Field here = variables[i];
      std::string value = variable.value();
      if (variable.type() == Environment::Variable::SECRET) {
        if (variable.secret().type() != Secret::VALUE) {
          return Error(Errc::unsupported,
                       cat((here / "secret").path(), ": only secrets of type VALUE are supported"));
        }
        value = variable.secret().value().data();
      } else if (variable.type() != Environment::Variable::VALUE) {
        return invalid(here / "type", "must be VALUE or SECRET");
      } else if (!variable.has_value()) {
        return invalid(here / "value", "required where the type is VALUE");
      }
      if (variable.name().find('=') != std::string::npos) {
        return invalid(here / "name", "must not contain '='");
      }
      out_.process.env.push_back(cat(variable.name(), "=", value));
      GANTRY_TRY(check_environment(here, out_.process.env.back()));
    }
    return {};
  }

  Result<void> uris(const Field& field, const CommandInfo& in) {
    GANTRY_TRY(check_count(field, in.uris_size()));
    for (int i = 0; i < in.uris_size(); ++i) {
      const auto& uri = in.uris(i);
      const Field here = field[i];
      FetchUri out;
      out.uri = uri.value();
      out.executable = uri.executable();
      if (out.uri.starts_with('/')) out.uri.insert(0, "file://");
      GANTRY_TRY(check_line(here / "value", out.uri, 8192));
      // extract is on by default and concerns what Mesos recognises as an archive.
      out.extract = uri.extract() && !uri.executable() && looks_like_archive(out.uri);
      if (uri.has_gantry_sha256()) {
        GANTRY_TRY(check_sha256(here / "gantry_sha256", uri.gantry_sha256()));
        out.sha256 = uri.gantry_sha256();
      }
      if (uri.has_output_file()) {
        GANTRY_TRY(check_relative_path(here / "output_file", uri.output_file()));
        out.output_file = uri.output_file();
      }
      out_.uris.push_back(std::move(out));
    }
    return {};
  }
  static bool looks_like_archive(std::string_view uri) {
    for (std::string_view end :
         {".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tar.zst", ".zip"}) {
      if (uri.ends_with(end)) return true;
    }
    return false;
  }

  Result<void> container(const Field& field, const ContainerInfo& in) {
    if (in.type() != ContainerInfo::MESOS || in.has_docker()) {
      return Error(Errc::invalid, "The provided ContainerInfo is not supported");
    }
    if (in.mesos().has_image()) {
      GANTRY_TRY(image(field / "mesos" / "image", in.mesos().image()));
    }
    if (in.has_hostname()) {
      GANTRY_TRY(check_hostname(field / "hostname", in.hostname()));
      out_.hostname = in.hostname();
    }
    GANTRY_TRY(volumes(field / "volumes", in));
    GANTRY_TRY(networks(field / "network_infos", in));
    if (in.has_linux_info()) GANTRY_TRY(linux_info(field / "linux_info", in.linux_info()));
    GANTRY_TRY(rlimits(field / "rlimit_info" / "rlimits", in.rlimit_info()));
    if (in.has_tty_info()) GANTRY_TRY(tty(field / "tty_info" / "window_size", in.tty_info()));
    return {};
  }

  Result<void> image(const Field& field, const Image& in) {
    if (in.type() != Image::DOCKER) {
      return Error(Errc::unsupported, cat((field / "type").path(), ": only DOCKER is supported"));
    }
    if (!in.has_docker()) return invalid(field / "docker", "required where the type is DOCKER");
    GANTRY_TRY(check_image_reference(field / "docker" / "name", in.docker().name()));
    out_.root = ImageRoot{in.docker().name()};
    return {};
  }

  Result<void> volumes(const Field& field, const ContainerInfo& in) {
    GANTRY_TRY(check_count(field, in.volumes_size()));
    for (int i = 0; i < in.volumes_size(); ++i) {
      const Volume& volume = in.volumes(i);
      const Field here = field[i];
      MountSpec mount;
      mount.read_only = volume.mode() == Volume::RO;
      mount.destination = volume.container_path();
      if (!mount.destination.starts_with('/')) {
        GANTRY_TRY(check_relative_path(here / "container_path", mount.destination));
        mount.destination = cat(kSandbox, "/", mount.destination);
      }
      GANTRY_TRY(check_mount_point(here / "container_path", mount.destination));
      const auto& source = volume.source();
      const bool by_source = volume.has_source() && source.type() == Volume::Source::HOST_PATH;
      if (by_source == volume.has_host_path() || (volume.has_source() && !by_source) ||
          volume.has_image()) {
        return Error(Errc::unsupported, cat(here.path(),
                                            ": only host_path and a source of type HOST_PATH are "
                                            "supported, and one of them"));
      }
      mount.source = by_source ? source.host_path().path() : volume.host_path();
      GANTRY_TRY(
          check_absolute_path(by_source ? here / "source" : here / "host_path", mount.source));
      const auto mode = source.host_path().mount_propagation().mode();
      if (mode == MountPropagation::BIDIRECTIONAL) mount.propagation = Propagation::rshared;
      if (mode == MountPropagation::HOST_TO_CONTAINER) mount.propagation = Propagation::rslave;
      out_.mounts.push_back(std::move(mount));
    }
    return {};
  }

  // Mesos: no network_infos is the host's network. Names are Gantry's modes.
  Result<void> networks(const Field& field, const ContainerInfo& in) {
    if (in.network_infos_size() == 0) return {};
    if (in.network_infos_size() > 1) {
      return Error(Errc::unsupported, cat(field.path(), ": only one network is supported"));
    }
    const NetworkInfo& info = in.network_infos(0);
    const Field here = field[0];
    if (info.name() == "none") {
      out_.network.mode = NetworkSpec::Mode::none;
    } else if (info.name() == "bridge") {
      out_.network.mode = NetworkSpec::Mode::bridge;
    } else if (info.has_name() && info.name() != "host") {
      return Error(Errc::unsupported,
                   cat((here / "name").path(), ": only none, host and bridge are supported"));
    }
    for (int i = 0; i < info.ip_addresses_size(); ++i) {
      if (info.ip_addresses(i).has_ip_address()) {
        return Error(Errc::unsupported, cat((here / "ip_addresses")[i].path(),
                                            ": an address of one's choice is not supported"));
      }
    }
    for (int i = 0; i < info.port_mappings_size(); ++i) {
      const auto& port = info.port_mappings(i);
      const Field mappings = here / "port_mappings";
      const Field at = mappings[i];
      if (port.host_port() == 0 || port.host_port() > 65535) {
        return invalid(at / "host_port", "must be 1 to 65535");
      }
      if (port.container_port() == 0 || port.container_port() > 65535) {
        return invalid(at / "container_port", "must be 1 to 65535");
      }
      if (port.has_protocol() && port.protocol() != "tcp" && port.protocol() != "udp") {
        return invalid(at / "protocol", "must be tcp or udp");
      }
      out_.network.ports.push_back(
          {static_cast<uint16_t>(port.host_port()),
           static_cast<uint16_t>(port.container_port()),
           port.protocol() == "udp" ? PortMapping::Protocol::udp : PortMapping::Protocol::tcp,
           {}});
    }
    if (!out_.network.ports.empty() && out_.network.mode != NetworkSpec::Mode::bridge) {
      return invalid(here / "port_mappings", "need the network named bridge");
    }
    return {};
  }

  Result<uint64_t> capability_mask(const Field& field, const CapabilityInfo& in) {
    uint64_t mask = 0;
    for (int i = 0; i < in.capabilities_size(); ++i) {
      const int number = in.capabilities(i) - CapabilityInfo::CHOWN;
      if (number < 0 || number > last_capability()) {
        return invalid((field / "capabilities")[i], "is no capability");
      }
      mask |= uint64_t{1} << number;
    }
    return mask;
  }

  Result<void> linux_info(const Field& field, const LinuxInfo& in) {
    auto& capabilities = out_.security.capabilities;
    const bool old = in.has_capability_info();
    if (old && in.has_effective_capabilities()) {
      return invalid(field / "capability_info", "excludes effective_capabilities");
    }
    if (in.has_bounding_capabilities()) {
      capabilities.bounding =
          GANTRY_TRY(capability_mask(field / "bounding_capabilities", in.bounding_capabilities()));
      capabilities.effective &= capabilities.bounding;
    }
    if (old || in.has_effective_capabilities()) {
      const Field here = field / (old ? "capability_info" : "effective_capabilities");
      capabilities.effective = GANTRY_TRY(
          capability_mask(here, old ? in.capability_info() : in.effective_capabilities()));
      if (!in.has_bounding_capabilities()) {
        capabilities.bounding = capabilities.effective;
      } else if ((capabilities.effective & ~capabilities.bounding) != 0) {
        return invalid(here, "must be a subset of bounding_capabilities");
      }
    }
    capabilities.permitted = capabilities.effective;
    if (in.share_pid_namespace()) out_.namespaces.pid.kind = NamespaceChoice::Kind::host;
    if (in.ipc_mode() == LinuxInfo::SHARE_PARENT) {
      out_.namespaces.ipc.kind = NamespaceChoice::Kind::host;
    }
    if (in.has_seccomp()) {
      const bool named = in.seccomp().has_profile_name();
      if (named == in.seccomp().unconfined()) {
        return invalid(field / "seccomp", "needs either profile_name or unconfined");
      }
      if (named && in.seccomp().profile_name() != "default" &&
          in.seccomp().profile_name() != "default.json") {
        return invalid(field / "seccomp" / "profile_name",
                       "only 'default' is known here; others go into gantry_spec.seccomp");
      }
      if (!named) out_.security.seccomp.mode = SeccompSpec::Mode::unconfined;
    }
    if (in.has_shm_size()) {
      if (in.shm_size() == 0) return invalid(field / "shm_size", "must be at least 1 (MiB)");
      MountSpec shm;
      shm.type = MountSpec::Type::tmpfs;
      shm.destination = "/dev/shm";
      shm.nosuid = shm.nodev = shm.noexec = true;
      shm.size = Bytes{in.shm_size()} << 20;
      shm.mode = 01777;
      out_.mounts.push_back(std::move(shm));
    }
    const bool nested = in_.container_id().has_parent();
    if (!nested && in.has_share_cgroups() && in.share_cgroups()) {
      return invalid(field / "share_cgroups", "must not be true for a top-level container");
    }
    return {};
  }

  Result<void> rlimits(const Field& field, const RLimitInfo& in) {
    static constexpr int kNumbers[] = {-1,
                                       RLIMIT_AS,
                                       RLIMIT_CORE,
                                       RLIMIT_CPU,
                                       RLIMIT_DATA,
                                       RLIMIT_FSIZE,
                                       RLIMIT_LOCKS,
                                       RLIMIT_MEMLOCK,
                                       RLIMIT_MSGQUEUE,
                                       RLIMIT_NICE,
                                       RLIMIT_NOFILE,
                                       RLIMIT_NPROC,
                                       RLIMIT_RSS,
                                       RLIMIT_RTPRIO,
                                       RLIMIT_RTTIME,
                                       RLIMIT_SIGPENDING,
                                       RLIMIT_STACK};
    for (int i = 0; i < in.rlimits_size(); ++i) {
      const auto& limit = in.rlimits(i);
      const Field here = field[i];
      const int number = kNumbers[limit.type()];
      if (number < 0) return invalid(here / "type", "must be present");
      if (limit.has_hard() != limit.has_soft()) {
        return invalid(here, "needs both hard and soft, or neither (unlimited)");
      }
      if (limit.soft() > limit.hard()) return invalid(here / "soft", "must not be above hard");
      for (const Rlimit& other : out_.process.rlimits) {
        if (other.resource == number) return invalid(here / "type", "is given twice");
      }
      // KERNEL: rlimits are unsigned, but nothing can be above half of that; it means unlimited.
      auto value = [](bool given, uint64_t amount) {
        return given && amount <= INT64_MAX ? amount : RLIM_INFINITY;
      };
      out_.process.rlimits.push_back(
          {number, value(limit.has_soft(), limit.soft()), value(limit.has_hard(), limit.hard())});
    }
    return {};
  }

  Result<void> tty(const Field& field, const TTYInfo& in) {
    out_.process.terminal = true;
    out_.process.open_stdin = true;
    if (!in.has_window_size()) return {};
    if (in.window_size().rows() > 65535 || in.window_size().columns() > 65535) {
      return invalid(field, "rows and columns are at most 65535");
    }
    out_.process.rows = static_cast<uint16_t>(in.window_size().rows());
    out_.process.columns = static_cast<uint16_t>(in.window_size().columns());
    return {};
  }

  // A finite amount of a scalar resource, 0 < it <= most.
  static Result<double> amount(const Field& field, double value, double most) {
    if (!(value > 0) || value > most) {
      return invalid(field, cat("must be above 0 and at most ", most));
    }
    return value;
  }
  static uint64_t shares(double cpus) {
    return std::clamp<uint64_t>(static_cast<uint64_t>(cpus * 1024), 2, 262'144);
  }
  static Bytes memory(double mebibytes) {
    return std::max(static_cast<Bytes>(mebibytes * kMebibyte), kMesosMinMemory);
  }

  Result<void> resources(const Field& field) {
    GANTRY_TRY(check_count(field, in_.resources_size()));
    const int depth = [&] {
      int n = 0;
      for (const auto* id = &in_.container_id(); id->has_parent(); id = &id->parent()) ++n;
      return n;
    }();
    if (depth > 0 && (in_.resources_size() != 0 || in_.limits_size() != 0) &&
        (depth > 1 || in_.container().linux_info().share_cgroups())) {
      return invalid(field, "a nested container has none of its own unless share_cgroups is false");
    }
    for (int i = 0; i < in_.resources_size(); ++i) {
      const Resource& resource = in_.resources(i);
      const Field here = field[i];
      if (resource.role() != "*" || resource.has_reservation() ||
          resource.reservations_size() != 0) {
        return invalid(here, "must be unreserved");
      }
      if (resource.disk().has_persistence())
        return invalid(here, "must not be a persistent volume");
      if (resource.has_revocable()) return invalid(here, "must not be revocable");
      const Field value = here / "scalar";
      if (resource.name() == "cpus") {
        const double cpus = GANTRY_TRY(amount(value, resource.scalar().value(), kMaxCpus));
        out_.resources.cpu_shares = shares(cpus);
      } else if (resource.name() == "mem") {
        const double mem = GANTRY_TRY(amount(value, resource.scalar().value(), 1e12));
        out_.resources.memory_reservation = memory(mem);
        out_.resources.memory_limit = memory(mem);
      } else if (resource.name() == "gpus" && resource.scalar().value() != 0) {
        return Error(Errc::unsupported, cat(here.path(), ": gpus are not supported"));
      }
    }
    return {};
  }

  Result<void> limits(const Field& field) {
    for (const auto& [name, scalar] : in_.limits()) {
      const Field here = field / name;
      const bool unlimited = std::isinf(scalar.value()) && scalar.value() > 0;
      if (name == "cpus") {
        if (unlimited) continue;
        const double cpus = GANTRY_TRY(amount(here, scalar.value(), kMaxCpus));
        out_.resources.cpu_period = kPeriod;
        out_.resources.cpu_quota = std::max(std::chrono::microseconds(static_cast<int64_t>(
                                                cpus * static_cast<double>(kPeriod.count()))),
                                            std::chrono::microseconds(1000));
      } else if (name == "mem") {
        out_.resources.memory_limit.reset();
        if (unlimited) continue;
        out_.resources.memory_limit = memory(GANTRY_TRY(amount(here, scalar.value(), 1e12)));
      } else {
        return invalid(field, "only cpus and mem have limits");
      }
    }
    // Mesos lets a limit be below the request; what is kept for it cannot be more than it may have.
    auto& resources = out_.resources;
    if (resources.memory_limit && resources.memory_reservation) {
      resources.memory_reservation =
          std::min(*resources.memory_reservation, *resources.memory_limit);
    }
    return {};
  }

  const Field& field_;
  const agent::Call::LaunchContainer& in_;
  ContainerSpec& out_;
};
}  // namespace

Result<void> add_mesos_launch(const Field& field, const agent::Call::LaunchContainer& in,
                              ContainerSpec& spec) {
  return MesosParser(field, in, spec).parse();
}
}  // namespace gantry::wire
