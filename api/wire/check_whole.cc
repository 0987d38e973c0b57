// The checks of a launch that need all of it, whichever half said what.
#include <set>
#include <tuple>

#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
constexpr size_t kMaxArguments = 1u << 20;  // argv and environment together
}  // namespace

Result<void> check_whole(const Field& field, const ContainerSpec& spec) {
  const Field ours = field / "gantry_spec";
  const auto& process = spec.process;
  size_t total = 0;
  auto check_args = [&](const Field& at, const std::vector<std::string>& args) -> Result<void> {
    for (size_t i = 0; i < args.size(); ++i) {
      GANTRY_TRY(check_text(at[static_cast<int>(i)], args[i], kMaxArgument));
      total += args[i].size() + 1;
    }
    return {};
  };
  GANTRY_TRY(check_args(ours / "args", process.args));
  if (process.entrypoint) GANTRY_TRY(check_args(ours / "entrypoint", *process.entrypoint));
  for (const auto& variable : process.env) total += variable.size() + 1;
  // Both halves of a launch may have added to these.
  const std::pair<std::string_view, size_t> lists[] = {
      {"env", process.env.size()}, {"mounts", spec.mounts.size()}, {"uris", spec.uris.size()}};
  for (const auto& [name, size] : lists) {
    GANTRY_TRY(check_count(ours / name, static_cast<int>(size)));
  }
  if (total > kMaxArguments) {
    return invalid(field, cat("arguments and environment have ", total, " bytes, at most ",
                              kMaxArguments, " are accepted"));
  }
  const bool entrypoint = process.entrypoint && !process.entrypoint->empty();
  if (!std::holds_alternative<ImageRoot>(spec.root) && process.args.empty() && !entrypoint) {
    return invalid(field / "command", "required where there is no image to say what to run");
  }
  const std::string& program = entrypoint             ? process.entrypoint->front()
                               : process.args.empty() ? "/"
                                                      : process.args.front();
  if (program.empty()) return invalid(field / "command", "the program's name must not be empty");

  if (!std::holds_alternative<ImageRoot>(spec.root) && spec.health && !spec.health->is_off &&
      spec.health->args.empty()) {
    return invalid(ours / "health" / "args", "required where there is no image that has a check");
  }

  std::set<std::string_view> places;
  for (const MountSpec& mount : spec.mounts) {
    if (!places.insert(mount.destination).second) {
      return invalid(ours / "mounts", cat("two have the destination ", mount.destination));
    }
  }
  std::set<std::tuple<std::string_view, uint16_t, int>> ports;
  for (const PortMapping& port : spec.network.ports) {
    if (port.host_port == 0) continue;  // a free one, another for each
    if (!ports.insert({port.host_ip, port.host_port, static_cast<int>(port.protocol)}).second) {
      return invalid(ours / "network" / "ports", cat("two publish port ", port.host_port));
    }
  }
  using Kind = NamespaceChoice::Kind;
  if (spec.namespaces.network.kind != Kind::private_ &&
      spec.network.mode == NetworkSpec::Mode::bridge) {
    return invalid(ours / "namespaces" / "network", "must be PRIVATE with the network mode BRIDGE");
  }
  if (!spec.hostname.empty() && spec.namespaces.uts.kind != Kind::private_) {
    return invalid(ours / "hostname",
                   "would change the host: there is no UTS namespace of its own");
  }
  for (const auto& [name, value] : spec.security.sysctls) {
    GANTRY_TRY(check_sysctl(ours / "sysctls", name, value,
                            spec.namespaces.network.kind == Kind::private_,
                            spec.namespaces.ipc.kind == Kind::private_));
  }
  for (const FetchUri& uri : spec.uris) {
    if (!uri.uri.starts_with("file:///") && !uri.uri.starts_with("http://") &&
        !uri.uri.starts_with("https://")) {
      return invalid(field / (uri.sha256 ? "gantry_spec" : "command") / "uris",
                     "must begin with file:///, http:// or https://");
    }
  }
  return {};
}
}  // namespace gantry::wire
