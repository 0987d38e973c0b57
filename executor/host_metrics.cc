#include "executor/host_metrics.h"

#include <fcntl.h>

#include "base/sys.h"

namespace gantry {
namespace {
constexpr double kNano = 1e-9;
constexpr ContainerState kStates[] = {
    ContainerState::creating,   ContainerState::created,   ContainerState::provisioning,
    ContainerState::preparing,  ContainerState::launching, ContainerState::restoring,
    ContainerState::running,    ContainerState::paused,    ContainerState::checkpointing,
    ContainerState::destroying, ContainerState::exited};

// The total of the line that begins with `kind`: "some avg10=0.00 avg60=0.00 avg300=0.00 total=12".
std::optional<uint64_t> pressure_total(std::string_view text, std::string_view kind) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t total = line.rfind("total=");
    uint64_t value = 0;
    if (line.starts_with(kind) && total != line.npos &&
        parse_number(line.substr(total + 6), value)) {
      return value;
    }
  }
  return std::nullopt;
}

std::string image_of(const ContainerSpec& spec) {
  const auto* image = std::get_if<ImageRoot>(&spec.root);
  return image == nullptr ? std::string() : image->reference;
}
}  // namespace

HostMetricsSource::HostMetricsSource(OperatorBackend& backend, Containerizer& containerizer,
                                     const http::Server& server, const Gatekeeper* gatekeeper,
                                     const LaunchCounts& launches, const AuditLog& audit_log)
    : backend_(backend),
      containerizer_(containerizer),
      server_(server),
      gatekeeper_(gatekeeper),
      launches_(launches),
      audit_log_(audit_log),
      started_ns_(sys::realtime_ns()),
      monotonic_ns_(sys::monotonic_ns()) {}

// KERNEL: every v2 cgroup has these files, with whatever controllers; without PSI none has.
std::vector<Pressure> HostMetricsSource::pressure_of(const ContainerId& id) const {
  std::vector<Pressure> out;
  auto dir = containerizer_.cgroups().open_v2_directory(ContainerCgroups::name_of(id));
  if (!dir) return out;
  for (const char* resource : {"cpu", "memory", "io"}) {
    auto text = sys::read_file_at(dir->get(), cat(resource, ".pressure").c_str());
    if (!text) continue;
    if (auto waiting = pressure_total(*text, "some ")) {
      out.push_back({resource, *waiting, pressure_total(*text, "full ")});
    }
  }
  return out;
}

Co<HostMetrics> HostMetricsSource::gather() {
  HostMetrics out;
  out.version = backend_.version().version;
  out.started = static_cast<double>(started_ns_) * kNano;
  out.now = out.started + static_cast<double>(sys::monotonic_ns() - monotonic_ns_) * kNano;
  out.launches = launches_;
  out.prepared_children = containerizer_.prepared_children();
  out.prepared_launches = containerizer_.prepared_launches();
  out.connections = server_.connection_count();
  out.requests = server_.active_request_count();
  out.refused_connections = server_.refused_count();
  out.failed_handshakes = server_.failed_handshakes();
  if (gatekeeper_ != nullptr) out.turned_away = gatekeeper_->turned_away();
  out.lost_audit_lines = audit_log_.lost();
  for (ContainerState state : kStates) out.by_state[std::string(to_string(state))] = 0;
  for (const ContainerPtr& container : containerizer_.list()) {
    ++out.by_state[std::string(to_string(container->state()))];
  }
  auto usages = co_await backend_.usage({});
  if (!usages) co_return out;
  for (ContainerUsage& measured : *usages) {
    const ContainerPtr container = containerizer_.find(measured.id);
    if (!container) continue;  // removed meanwhile
    out.containers.push_back({.id = measured.id.to_string(),
                              .name = std::move(measured.name),
                              .image = image_of(*container->spec),
                              .started_ns = container->started_ns,
                              .restarts = container->restarts,
                              .usage = measured.usage,
                              .pressure = pressure_of(measured.id)});
    co_await asio::post(asio::use_awaitable);
  }
  co_return out;
}
}  // namespace gantry
