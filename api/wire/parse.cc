// The way in: a launch from its two halves and the checks of the whole; ids.
#include "api/wire/parse.h"

#include <algorithm>

#include "api/wire/json.h"
#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
constexpr int kMaxNesting = 32;

// Why Mesos would refuse it; empty: it would not.
std::string id_problem(std::string_view value) {
  if (value.empty()) return "ID must not be empty";
  if (value.size() > 242) return "ID must not be greater than 242 characters";
  if (value == "." || value == "..") return cat("'", value, "' is disallowed");
  if (!ContainerId::parse(value)) {
    return cat("'", to_valid_utf8(value), "' contains invalid characters");
  }
  return {};
}
}  // namespace

Error expecting(std::string_view field) {
  return Error(Errc::invalid, cat("Expecting '", field, "' to be present"));
}

Result<ContainerId> parse_container_id(const Field& field, const ContainerID& in) {
  std::vector<const std::string*> values;  // innermost first
  for (const ContainerID* id = &in;; id = &id->parent()) {
    const std::string problem = static_cast<int>(values.size()) < kMaxNesting
                                    ? id_problem(id->value())
                                    : cat("it has more than ", kMaxNesting, " parents");
    if (!problem.empty()) {
      return Error(Errc::invalid, cat("'", field.path(), "' is invalid: ", problem));
    }
    values.push_back(&id->value());
    if (!id->has_parent()) break;
  }
  ContainerId out = GANTRY_TRY(ContainerId::parse(*values.back()));
  for (size_t i = values.size() - 1; i-- > 0;) {
    out = GANTRY_TRY(ContainerId::parse(*values[i], out));
  }
  return out;
}

ContainerID to_wire(const ContainerId& id) {
  ContainerID out;
  ContainerID* at = &out;
  for (const ContainerId* from = &id;; from = from->parent()) {
    at->set_value(from->value());
    if (from->parent() == nullptr) return out;
    at = at->mutable_parent();
  }
}

Result<void> check_count(const Field& field, int count) {
  if (count <= kMaxListed) return {};
  return invalid(field, cat("has ", count, " entries, at most ", kMaxListed, " are accepted"));
}

Result<ContainerSpec> parse_launch(const Field& field, const agent::Call::LaunchContainer& in) {
  if (in.has_gantry_spec() && in.container().has_gantry_spec()) {
    return invalid(field / "container" / "gantry_spec",
                   "excludes gantry_spec of the launch itself");
  }
  if (in.container_id().has_parent()) GANTRY_TRY(check_nested(field, in));
  const bool ours = in.has_gantry_spec() || in.container().has_gantry_spec();
  ContainerSpec spec;
  // Of a nested container: what it has beside its parent's.
  if (in.container_id().has_parent()) spec.security.capabilities = CapabilitySpec();
  // Mesos' default; Gantry's own is none.
  if (!ours) spec.network.mode = NetworkSpec::Mode::host;
  GANTRY_TRY(add_mesos_launch(field, in, spec));
  if (!ours) {
    if (std::holds_alternative<ImageRoot>(spec.root)) spec.sandbox_mount = kSandbox;
  } else if (in.has_gantry_spec()) {
    GANTRY_TRY(add_gantry_spec(field / "gantry_spec", in.gantry_spec(), spec));
  } else {
    GANTRY_TRY(
        add_gantry_spec(field / "container" / "gantry_spec", in.container().gantry_spec(), spec));
  }
  // ORDER: after both halves, either of which may choose the network.
  if (spec.network.mode == NetworkSpec::Mode::host &&
      spec.namespaces.network.kind == NamespaceChoice::Kind::private_) {
    spec.namespaces.network.kind = NamespaceChoice::Kind::host;
  }
  GANTRY_TRY(check_whole(field, spec));
  spec.request_bytes = in.SerializeAsString();
  return spec;
}

Result<ContainerSpec> parse_request_bytes(std::string_view request_bytes) {
  agent::Call::LaunchContainer launch;
  GANTRY_TRY(from_binary(request_bytes, launch).context("the request of the record"));
  return parse_launch(Field("launch_container"), launch);
}

Result<ContainerSpec> command_in(const ContainerId& id, const std::vector<std::string>& args) {
  agent::Call::LaunchContainer launch;
  *launch.mutable_container_id() = to_wire(id);
  launch.mutable_gantry_spec()->mutable_args()->Assign(args.begin(), args.end());
  return parse_launch(Field("launch_container"), launch);
}

namespace {
// Of a device that has one the new rate counts.
template <class Throttles>
void merge_throttles(const Throttles& wanted, Throttles& into) {
  for (const auto& one : wanted) {
    const auto same = std::find_if(into.begin(), into.end(), [&one](const auto& there) {
      return there.major_number() == one.major_number() &&
             there.minor_number() == one.minor_number();
    });
    *(same == into.end() ? into.Add() : &*same) = one;
  }
}

void merge_resources(GantrySpec::Resources wanted, GantrySpec::Resources& into) {
  merge_throttles(wanted.read_bps(), *into.mutable_read_bps());
  merge_throttles(wanted.write_bps(), *into.mutable_write_bps());
  merge_throttles(wanted.read_iops(), *into.mutable_read_iops());
  merge_throttles(wanted.write_iops(), *into.mutable_write_iops());
  wanted.clear_read_bps();
  wanted.clear_write_bps();
  wanted.clear_read_iops();
  wanted.clear_write_iops();
  if (wanted.has_cpus()) {
    into.clear_cpu_quota_us();
    into.clear_cpu_period_us();
  }
  into.MergeFrom(wanted);
}

// In an update 0 means that there is none from now on.
struct Lifted {
  bool cpus = false, memory = false;
};

Lifted lift(const GantrySpec::Resources& asked, GantrySpec::Resources& resources) {
  Lifted out{.cpus = asked.has_cpus() && asked.cpus() == 0,
             .memory = asked.has_memory_limit_bytes() && asked.memory_limit_bytes() == 0};
  if (out.cpus) resources.clear_cpus();
  if (out.memory) {
    resources.clear_memory_limit_bytes();
    resources.clear_memory_swap_bytes();
  }
  return out;
}
}  // namespace

Result<ContainerSpec> parse_update(std::string_view request_bytes,
                                   const agent::Call::GantryUpdate& in) {
  const Field field("gantry_update");
  agent::Call::LaunchContainer launch;
  GANTRY_TRY(from_binary(request_bytes, launch).context("the request of the record"));
  if (!launch.has_gantry_spec()) {
    return Error(Errc::unsupported,
                 cat(field.path(),
                     ": only a container that was launched with a gantry_spec can be "
                     "changed"));
  }
  if (in.resources().device_rules_size() != 0) {
    return Error(Errc::unsupported,
                 cat(field.path(), ".resources: device rules stay as they were launched"));
  }
  GantrySpec& spec = *launch.mutable_gantry_spec();
  Lifted lifted;
  if (in.has_resources()) {
    merge_resources(in.resources(), *spec.mutable_resources());
    lifted = lift(in.resources(), *spec.mutable_resources());
  }
  if (in.has_restart()) *spec.mutable_restart() = in.restart();
  if (in.has_name()) spec.set_name(in.name());
  ContainerSpec out = GANTRY_TRY(parse_launch(field, launch));
  // What runs has the limit still: the kernel is told.
  if (lifted.cpus) out.resources.cpu_quota = std::chrono::microseconds(-1);
  if (lifted.memory) {
    out.resources.memory_limit = kMaxBytes;
    out.resources.memory_swap = -1;
  }
  return out;
}

std::string unchanging_request(const std::string& request_bytes) {
  agent::Call::LaunchContainer launch;
  if (!from_binary(request_bytes, launch) || !launch.has_gantry_spec()) return request_bytes;
  launch.mutable_gantry_spec()->clear_resources();
  launch.mutable_gantry_spec()->clear_restart();
  launch.mutable_gantry_spec()->clear_name();
  return launch.SerializeAsString();
}

agent::Call::LaunchContainer launch_of_task(const TaskInfo& task, const ContainerId& id,
                                            const std::string& default_user) {
  agent::Call::LaunchContainer out;
  *out.mutable_container_id() = to_wire(id);
  if (task.has_command()) *out.mutable_command() = task.command();
  if (!out.command().has_user() && !default_user.empty()) {
    out.mutable_command()->set_user(default_user);
  }
  *out.mutable_resources() = task.resources();
  if (task.has_container()) *out.mutable_container() = task.container();
  *out.mutable_limits() = task.limits();
  return out;
}
}  // namespace gantry::wire
