#include "executor/wire_answers.h"

#include "api/wire/json.h"
#include "api/wire/parse.h"

namespace gantry {
namespace {
constexpr double kMicro = 1e-6;

void set_time(wire::TimeInfo* out, int64_t ns) { out->set_nanoseconds(ns); }

// What Mesos' WAIT answers have words for; both of its messages have the same fields.
template <class M>
void fill_wait(const ExitOutcome& outcome, M& out) {
  using Kind = ExitOutcome::Kind;
  switch (outcome.kind) {
    case Kind::exited:
    case Kind::signalled:
      out.set_exit_status(outcome.wait_status());
      return;
    case Kind::limited:
      out.set_exit_status(outcome.wait_status());
      out.set_state(wire::TASK_FAILED);
      out.set_reason(
          outcome.resource == "memory" ? wire::TaskStatus::REASON_CONTAINER_LIMITATION_MEMORY
          : outcome.resource == "disk" ? wire::TaskStatus::REASON_CONTAINER_LIMITATION_DISK
                                       : wire::TaskStatus::REASON_CONTAINER_LIMITATION);
      break;
    case Kind::failed:
      out.set_state(wire::TASK_FAILED);
      out.set_reason(wire::TaskStatus::REASON_CONTAINER_LAUNCH_FAILED);
      break;
    case Kind::lost:
      out.set_state(wire::TASK_GONE);
      out.set_reason(wire::TaskStatus::REASON_AGENT_RESTARTED);
      break;
  }
  out.set_message(wire::to_valid_utf8(outcome.reason));
}

void health_to_wire(const Health& in, wire::agent::GantryHealth& out) {
  out.set_status(std::string(to_string(in.status)));
  out.set_failing_streak(in.failing_streak);
  for (const HealthCheck& check : in.log) {
    auto* made = out.add_log();
    set_time(made->mutable_start(), check.start_ns);
    set_time(made->mutable_end(), check.end_ns);
    made->set_exit_code(check.exit_code);
    if (!check.output.empty()) made->set_output(wire::to_valid_utf8(check.output));
  }
}
}  // namespace

wire::agent::GantryExit exit_to_wire(const ExitOutcome& outcome) {
  using Kind = ExitOutcome::Kind;
  using wire::agent::GantryExit;
  GantryExit out;
  out.set_kind(outcome.kind == Kind::exited      ? GantryExit::EXITED
               : outcome.kind == Kind::signalled ? GantryExit::SIGNALLED
               : outcome.kind == Kind::limited   ? GantryExit::LIMITED
               : outcome.kind == Kind::lost      ? GantryExit::LOST
                                                 : GantryExit::FAILED);
  out.set_code(outcome.code);
  if (outcome.core_dumped) out.set_core_dumped(true);
  if (!outcome.reason.empty()) out.set_reason(outcome.reason);
  out.set_shell_status(outcome.shell_status());
  return out;
}

void wait_to_wire(const ExitOutcome& outcome, wire::agent::Response::WaitContainer& out) {
  fill_wait(outcome, out);
  // An ordinary end is what a Mesos agent sends, to the byte; the rest is for those who know us.
  const bool ordinary =
      outcome.kind == ExitOutcome::Kind::exited || outcome.kind == ExitOutcome::Kind::signalled;
  if (!ordinary) *out.mutable_gantry_exit() = exit_to_wire(outcome);
}
void wait_to_wire(const ExitOutcome& outcome, wire::agent::Response::WaitNestedContainer& out) {
  fill_wait(outcome, out);
}

wire::agent::GantryContainer summary_to_wire(const ContainerSummary& in) {
  wire::agent::GantryContainer out;
  *out.mutable_container_id() = wire::to_wire(in.id);
  if (!in.name.empty()) out.set_name(in.name);
  out.set_state(std::string(to_string(in.state)));
  if (!in.image.empty()) out.set_image(in.image);
  if (!in.image_digest.empty()) out.set_image_digest(in.image_digest);
  for (const auto& word : in.command) out.add_command(word);
  if (in.pid != 0) out.set_pid(static_cast<uint32_t>(in.pid));
  if (in.created_ns != 0) set_time(out.mutable_created(), in.created_ns);
  if (in.started_ns != 0) set_time(out.mutable_started(), in.started_ns);
  if (in.finished_ns != 0) set_time(out.mutable_finished(), in.finished_ns);
  if (in.outcome) *out.mutable_exit() = exit_to_wire(*in.outcome);
  for (const auto& address : in.ip_addresses) out.add_ip_addresses(address);
  for (const PortMapping& port : in.ports) {
    auto* made = out.add_ports();
    made->set_host_port(port.host_port);
    made->set_container_port(port.container_port);
    made->set_protocol(port.protocol == PortMapping::Protocol::udp ? "udp" : "tcp");
    if (!port.host_ip.empty()) made->set_host_ip(port.host_ip);
  }
  for (const auto& [key, value] : in.labels) (*out.mutable_labels())[key] = value;
  if (!in.hostname.empty()) out.set_hostname(in.hostname);
  if (!in.framework_id.empty()) out.set_framework_id(in.framework_id);
  if (!in.task_id.empty()) out.set_task_id(in.task_id);
  if (in.restarts != 0) out.set_restarts(in.restarts);
  if (in.restart_due) out.set_restart_due(true);
  if (in.health) health_to_wire(*in.health, *out.mutable_health());
  return out;
}

void details_to_wire(const ContainerDetails& in,
                     wire::agent::Response::GantryInspectResponse& out) {
  *out.mutable_container() = summary_to_wire(in.summary);
  wire::agent::Call::LaunchContainer launch;
  if (launch.ParseFromString(in.request_bytes)) *out.mutable_launch() = std::move(launch);
  for (const auto& [name, duration] : in.phases) {
    auto* phase = out.add_phases();
    phase->set_name(name);
    phase->set_microseconds(static_cast<uint64_t>(duration.count()));
  }
  if (in.total.count() != 0) out.set_total_microseconds(static_cast<uint64_t>(in.total.count()));
  if (!in.sandbox.empty()) out.set_sandbox(in.sandbox);
  if (!in.rootfs.empty()) out.set_rootfs(in.rootfs);
  for (const auto& path : in.cgroups) out.add_cgroups(path);
  if (!in.record_directory.empty()) out.set_record(in.record_directory);
  for (const auto& name : in.isolators) out.add_isolators(name);
  if (!in.log_directory.empty()) out.set_log_directory(in.log_directory);
  for (const auto& name : in.checkpoints) out.add_checkpoints(name);
}

wire::ResourceStatistics usage_to_wire(const Usage& in, double timestamp) {
  wire::ResourceStatistics out;
  out.set_timestamp(timestamp);
  auto seconds = [](uint64_t us) { return static_cast<double>(us) * kMicro; };
  if (in.pids_current) out.set_threads(static_cast<uint32_t>(*in.pids_current));
  if (in.cpu_user_us) out.set_cpus_user_time_secs(seconds(*in.cpu_user_us));
  if (in.cpu_system_us) out.set_cpus_system_time_secs(seconds(*in.cpu_system_us));
  if (in.cpus_limit) out.set_cpus_limit(*in.cpus_limit);
  if (in.cpu_periods) out.set_cpus_nr_periods(static_cast<uint32_t>(*in.cpu_periods));
  if (in.cpu_throttled_periods) {
    out.set_cpus_nr_throttled(static_cast<uint32_t>(*in.cpu_throttled_periods));
  }
  if (in.cpu_throttled_us) out.set_cpus_throttled_time_secs(seconds(*in.cpu_throttled_us));
  if (in.memory_current) out.set_mem_total_bytes(*in.memory_current);
  if (in.memory_limit) out.set_mem_limit_bytes(*in.memory_limit);
  if (in.memory_file) {
    out.set_mem_file_bytes(*in.memory_file);
    out.set_mem_cache_bytes(*in.memory_file);
  }
  if (in.memory_anon) {
    out.set_mem_anon_bytes(*in.memory_anon);
    out.set_mem_rss_bytes(*in.memory_anon);
  }
  if (in.net_received) out.set_net_rx_bytes(*in.net_received);
  if (in.net_sent) out.set_net_tx_bytes(*in.net_sent);
  if (in.memory_peak) out.set_gantry_mem_peak_bytes(*in.memory_peak);
  if (in.oom_kills) out.set_gantry_oom_kills(*in.oom_kills);
  if (in.pids_limit) out.set_gantry_pids_limit(*in.pids_limit);
  if (in.io_read) out.set_gantry_io_read_bytes(*in.io_read);
  if (in.io_written) out.set_gantry_io_written_bytes(*in.io_written);
  return out;
}

wire::agent::GantryImage image_to_wire(const ImageSummary& in) {
  wire::agent::GantryImage out;
  for (const auto& reference : in.references) out.add_references(reference);
  out.set_digest(in.digest);
  out.set_size_bytes(in.size);
  if (in.created_ns != 0) set_time(out.mutable_created(), in.created_ns);
  if (!in.platform.empty()) out.set_platform(in.platform);
  out.set_layers(in.layers);
  return out;
}

wire::agent::Response::GetContainers::Container container_to_wire(const ContainerSummary& in,
                                                                  const Usage* usage,
                                                                  double timestamp) {
  wire::agent::Response::GetContainers::Container out;
  if (!in.framework_id.empty()) {
    out.mutable_framework_id()->set_value(in.framework_id);
    out.mutable_executor_id()->set_value(in.executor_id);
    out.set_executor_name("");
  }
  *out.mutable_container_id() = wire::to_wire(in.id);
  auto* status = out.mutable_container_status();
  *status->mutable_container_id() = wire::to_wire(in.id);
  for (const auto& address : in.ip_addresses) {
    auto* made = status->add_network_infos()->add_ip_addresses();
    made->set_protocol(address.find(':') == std::string::npos ? wire::NetworkInfo::IPv4
                                                              : wire::NetworkInfo::IPv6);
    made->set_ip_address(address);
  }
  if (in.pid != 0) status->set_executor_pid(static_cast<uint32_t>(in.pid));
  if (usage != nullptr) *out.mutable_resource_statistics() = usage_to_wire(*usage, timestamp);
  return out;
}

wire::FileInfo file_to_wire(const FileEntry& in) {
  wire::FileInfo out;
  out.set_path(in.path);
  out.set_nlink(static_cast<int32_t>(in.nlink));
  out.set_size(in.size);
  set_time(out.mutable_mtime(), in.mtime_ns);
  out.set_mode(in.mode);
  out.set_uid(in.user);
  out.set_gid(in.group);
  return out;
}
}  // namespace gantry
