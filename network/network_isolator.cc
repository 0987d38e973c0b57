#include "network/network_isolator.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/str.h"
#include "base/sys.h"
#include "network/bridge_network.h"
#include "network/container_files.h"

namespace gantry {
namespace {
constexpr size_t kMaxHostFileBytes = 1u << 20;
// How long after a failure the watch looks again.
constexpr std::chrono::seconds kRetryAfter(1);

enum class Mode { none, host, bridge };

Result<Mode> mode_of(const ContainerSpec& spec) {
  using Kind = NamespaceChoice::Kind;
  Kind space = spec.namespaces.network.kind;
  NetworkSpec::Mode wanted = spec.network.mode;
  if (wanted != NetworkSpec::Mode::bridge && !spec.network.ports.empty()) {
    return Error(Errc::invalid, "network.ports: publishing ports needs network mode bridge");
  }
  if (wanted == NetworkSpec::Mode::bridge) {
    if (space == Kind::private_) return Mode::bridge;
    return Error(Errc::invalid,
                 "network.mode: bridge needs a network namespace of the "
                 "container's own, not the host's or another container's");
  }
  bool is_host = wanted == NetworkSpec::Mode::host || space == Kind::host;
  return is_host ? Mode::host : Mode::none;
}

struct ContainerFile {
  std::string_view name;    // in the runtime directory
  std::string_view target;  // in the container
  std::string text;
};

Result<std::array<ContainerFile, 3>> container_files(const LaunchContext& context, Mode mode,
                                                     const NetworkLease* lease) {
  const NetworkSpec& spec = context.spec.network;
  HostsRequest request{context.hostname, std::nullopt, std::nullopt, spec.extra_hosts};
  std::string host_text = host_resolver_text();
  std::string hosts, resolver;
  if (mode == Mode::host) {
    request.gateway = Ipv4{0x7f000001};
    GANTRY_TRY(check_hostname(request.hostname));
    auto host_hosts = sys::read_file("/etc/hosts", kMaxHostFileBytes);
    hosts = GANTRY_TRY(host_mode_hosts_text(std::move(host_hosts).value_or(""), request));
    std::string own = sys::read_file("/etc/resolv.conf", kMaxHostFileBytes).value_or("");
    resolver = GANTRY_TRY(host_mode_resolver_text(own, spec.dns_servers));
  } else {
    if (lease != nullptr) {
      request.address = lease->address;
      request.gateway = lease->gateway();
    }
    hosts = GANTRY_TRY(hosts_text(request));
    resolver = GANTRY_TRY(resolver_text(host_text, spec.dns_servers));
  }
  return std::array<ContainerFile, 3>{{{"hosts", "/etc/hosts", std::move(hosts)},
                                       {"hostname", "/etc/hostname", context.hostname + "\n"},
                                       {"resolv.conf", "/etc/resolv.conf", std::move(resolver)}}};
}

Result<void> write_container_file(const std::string& path, std::string_view text) {
  UniqueFd fd = GANTRY_TRY(sys::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  // Everybody in the container reads it, whatever our umask is.
  if (::fchmod(fd.get(), 0644) != 0) return Error::from_errno(errno, cat("chmod ", path));
  return sys::write_all(fd.get(), text);
}

void unlink_container_files(const std::string& directory) {
  for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
    ::unlink(cat(directory, "/", name).c_str());
  }
}

// The user's own mount on it wins. One on a directory above it (/etc) is the user's data: nothing
// is made in there, a file that is there is covered.
enum class Cover { plain, only_if_there, no };
Cover cover(const ContainerSpec& spec, std::string_view target) {
  Cover result = Cover::plain;
  for (const MountSpec& mount : spec.mounts) {
    std::string_view at = mount.destination;
    while (at.size() > 1 && at.ends_with('/')) at.remove_suffix(1);
    if (at == target) return Cover::no;
    if (at == "/etc" && mount.type != MountSpec::Type::tmpfs) result = Cover::only_if_there;
  }
  return result;
}

void bind_file(LaunchPlan::Builder& plan, const LaunchContext& context, const ContainerFile& file,
               Cover how) {
  Op op;
  op.kind = OpKind::kBind;
  op.s1 = plan.str(cat(context.runtime_dir, "/", file.name));
  op.s2 = plan.str(file.target);
  op.a = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (context.spec.security.read_only_root) op.a |= MOUNT_ATTR_RDONLY;
  op.b = kBindNoFollow | kBindCoverLink;
  if (how == Cover::plain) op.b |= kBindMakeFile;
  if (how == Cover::only_if_there) op.flags = kOpOptional;
  plan.add(Stage::files, op);
}
}  // namespace

NetworkIsolator::NetworkIsolator(std::unique_ptr<Network> bridge) : bridge_(std::move(bridge)) {}
NetworkIsolator::~NetworkIsolator() = default;

Co<Result<void>> NetworkIsolator::recover(const std::vector<RecoveredContainer>& known) {
  std::vector<std::pair<ContainerId, NetworkLease>> leases;
  for (const RecoveredContainer& container : known) {
    Member member;
    std::string_view rest = container.isolator_record;
    while (!rest.empty()) {
      size_t end = rest.find('\n');
      std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      if (line.starts_with("files ")) member.files_directory = line.substr(6);
      if (!line.starts_with("bridge ")) continue;
      // A damaged record costs this container its port rules, not the others theirs.
      auto lease = parse_lease(line.substr(7));
      if (lease) member.lease = std::move(*lease);
    }
    if (member.lease) leases.emplace_back(container.id, *member.lease);
    members_.insert_or_assign(container.id, std::move(member));
  }
  co_return co_await bridge_->recover(std::move(leases));
}

Co<Result<void>> NetworkIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  Mode mode = GANTRY_CO_TRY(mode_of(context.spec));
  // ORDER: known before anything is made, so that cleanup finds it.
  Member& member = members_[context.id];
  if (mode == Mode::bridge) {
    auto reserved = co_await bridge_->reserve(context.id, context.spec.network.ports);
    members_[context.id].lease = GANTRY_CO_TRY(std::move(reserved));
  }
  if (context.rootfs.kind == Rootfs::Kind::host) co_return Result<void>();
  const auto& lease = member.lease;
  auto files = GANTRY_CO_TRY(container_files(context, mode, lease ? &*lease : nullptr));
  member.files_directory = context.runtime_dir;
  for (const ContainerFile& file : files) {
    Cover how = cover(context.spec, file.target);
    if (how == Cover::no) continue;
    GANTRY_CO_TRY(write_container_file(cat(context.runtime_dir, "/", file.name), file.text)
                      .context("write ", file.target));
    bind_file(plan, context, file, how);
  }
  co_return Result<void>();
}

Co<Result<void>> NetworkIsolator::isolate(const LaunchContext& context, const ProcessRef& child) {
  auto it = members_.find(context.id);
  if (it == members_.end() || !it->second.lease) co_return Result<void>();
  auto attached = co_await bridge_->attach(context.id, child.identity(), child.pidfd());
  co_return std::move(attached).context("attach to the bridge network");
}

bool NetworkIsolator::watches(const ContainerId& id) const {
  auto it = members_.find(id);
  return it != members_.end() && it->second.lease.has_value();
}

Co<Result<Limitation>> NetworkIsolator::watch(ContainerId id) {
  (void)id;
  while (!co_await is_cancelled()) {
    auto done = co_await bridge_->maintain();
    // What could not be put back (a foreign link of our bridge's name) may be possible later.
    if (!done) co_await sleep_for(kRetryAfter);
  }
  co_return Error(Errc::cancelled, "the network is not watched any more");
}

Co<Result<void>> NetworkIsolator::usage(ContainerId id, Usage& into) {
  if (!watches(id)) co_return Result<void>();
  LinkCounters counters = GANTRY_CO_TRY(co_await bridge_->counters(id));
  into.net_received = counters.received;
  into.net_sent = counters.sent;
  co_return Result<void>();
}

std::optional<Ipv4> NetworkIsolator::address_of(const ContainerId& id) const {
  auto it = members_.find(id);
  if (it == members_.end() || !it->second.lease) return std::nullopt;
  return it->second.lease->address;
}

const std::vector<PortMapping>* NetworkIsolator::ports_of(const ContainerId& id) const {
  const auto it = members_.find(id);
  return it == members_.end() || !it->second.lease ? nullptr : &it->second.lease->ports;
}

std::string NetworkIsolator::record(const ContainerId& id) const {
  auto it = members_.find(id);
  if (it == members_.end()) return {};
  std::string out;
  if (!it->second.files_directory.empty()) out += cat("files ", it->second.files_directory, '\n');
  if (it->second.lease) out += cat("bridge ", to_record(*it->second.lease), '\n');
  return out;
}

Co<Result<void>> NetworkIsolator::cleanup(ContainerId id) {
  auto it = members_.find(id);
  bool has_link = it == members_.end() || it->second.lease.has_value();
  // Unknown: a half-made one of an executor that died; there may be a link of its name.
  if (has_link) GANTRY_CO_TRY(co_await bridge_->detach(id));
  if (it == members_.end()) co_return Result<void>();
  if (!it->second.files_directory.empty()) unlink_container_files(it->second.files_directory);
  members_.erase(id);
  co_return Result<void>();
}

std::unique_ptr<NetworkIsolator> make_network_isolator(const asio::any_io_executor& executor,
                                                       BridgeOptions options) {
  return std::make_unique<NetworkIsolator>(
      std::make_unique<BridgeNetwork>(executor, std::move(options)));
}
}  // namespace gantry
