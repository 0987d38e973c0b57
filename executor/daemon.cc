#include "executor/daemon.h"

#include <csignal>

#include "base/failpoint.h"
#include "base/sys.h"
#include "executor/container_files.h"
#include "executor/container_input.h"
#include "executor/container_output.h"
#include "executor/doctor.h"
#include "executor/version.h"
#include "network/network_isolator.h"

namespace gantry {
namespace {
// Less than a millisecond's work: twenty thousand must not keep the loop from launching others.
constexpr size_t kSummarizedAtOnce = 64;
}  // namespace

Daemon::Daemon(const Config& config, StartedAs started_as, Containerizer& containerizer,
               Provisioner& provisioner, ContainerCheckpoints& checkpoints,
               const NetworkIsolator& network, LogClient& logs, AuditLog& audit_log,
               LaunchCounts& launches, EventLog& events, asio::any_io_executor executor)
    : config_(config),
      started_as_(std::move(started_as)),
      containerizer_(containerizer),
      provisioner_(provisioner),
      checkpoints_(checkpoints),
      network_(network),
      logs_(logs),
      audit_log_(audit_log),
      executor_(executor),
      end_changed_(executor),
      last_request_ns_(sys::monotonic_ns()),
      launches_(launches),
      events_(events) {}

// ---- Life ------------------------------------------------------------------------------------

bool Daemon::is_idle() const {
  if (!config_.on_demand || containerizer_.live_count() > 0 || events_.followers() > 0)
    return false;
  int64_t idle_ns = config_.idle_exit_seconds * 1'000'000'000LL;
  int64_t last = last_request_ns_;
  return sys::monotonic_ns() - last >= idle_ns;
}

Co<Daemon::End> Daemon::wait_end() {
  while (!end_) {
    std::optional<Duration> look_again;
    if (config_.on_demand) look_again = std::chrono::seconds(5);
    co_await end_changed_.wait(look_again);
    if (!end_ && is_idle()) end_ = End::idle;
  }
  co_return *end_;
}

void Daemon::ask_end(End reason) {
  // Where nothing runs there is nothing for a launcher to keep either.
  if (reason == End::signalled && containerizer_.live_count() == 0) reason = End::idle;
  if (!end_) end_ = reason;
  end_changed_.notify();
}

Co<Result<void>> Daemon::shutdown() {
  // Those whose end was reported, and that are still being cleaned up, do not run.
  for (const ContainerPtr& container : containerizer_.list()) {
    if (!container->outcome || !is_live(container->state())) continue;
    (co_await containerizer_.destroy(container->id)).ignore("then it counts as running");
  }
  if (size_t live = containerizer_.live_count(); live > 0) {
    co_return Error(Errc::busy, cat(live, " container", live == 1 ? " is" : "s are",
                                    " running; stop them first (`gantry stop`), or leave them: "
                                    "a killed or restarted executor does not disturb them"));
  }
  // `run --rm` whose client has not come back (Containerizer::remove_when_read): it need not now.
  for (const ContainerPtr& container : containerizer_.list()) {
    if (!container->spec->remove_on_exit || !container->outcome || container->readers > 0) continue;
    (co_await containerizer_.remove(container->id, Containerizer::Force::no))
        .ignore("the next executor's recovery removes it");
  }
  ask_end(End::shutdown);
  co_return Result<void>();
}

Co<Result<void>> Daemon::upgrade(std::string program) {
  GANTRY_CO_TRY(co_await try_successor(program, started_as_));
  successor_ = std::move(program);
  ask_end(End::upgraded);
  co_return Result<void>();
}

// ---- Containers ------------------------------------------------------------------------------

Result<ContainerPtr> Daemon::resolve(const ContainerId& id) const {
  if (id.parent() != nullptr) return containerizer_.resolve(id.to_string());
  if (ContainerPtr container = containerizer_.find(id)) return container;
  return containerizer_.resolve(id.value());
}

std::string Daemon::called(const Container& container) {
  constexpr size_t kMadeUp = 32, kShort = 12;
  if (!container.spec->name.empty()) return container.spec->name;
  const std::string id = container.id.to_string();
  const bool is_made_up =
      id.size() == kMadeUp && id.find_first_not_of("0123456789abcdef") == id.npos;
  return is_made_up ? id.substr(0, kShort) : id;
}

Co<Result<LaunchAnswer>> Daemon::launch(ContainerId id, ContainerSpec spec) {
  last_request_ns_ = sys::monotonic_ns();
  const int64_t begun_ns = last_request_ns_;
  if (id.parent() != nullptr) {
    ContainerPtr parent = GANTRY_CO_TRY(resolve(*id.parent()));
    id = GANTRY_CO_TRY(ContainerId::parse(id.value(), parent->id));
  }
  auto answer = co_await containerizer_.launch(std::move(id), std::move(spec));
  if (!answer) {
    launches_.fail();
    co_return std::move(answer).error();
  }
  if (*answer != Containerizer::LaunchAnswer::started) co_return LaunchAnswer::already_there;
  launches_.succeed(std::chrono::nanoseconds(sys::monotonic_ns() - begun_ns));
  co_return LaunchAnswer::started;
}

Co<Result<LaunchAnswer>> Daemon::create(ContainerId id, ContainerSpec spec) {
  last_request_ns_ = sys::monotonic_ns();
  const auto answer = GANTRY_CO_TRY(co_await containerizer_.create(std::move(id), std::move(spec)));
  co_return answer == Containerizer::LaunchAnswer::started ? LaunchAnswer::started
                                                           : LaunchAnswer::already_there;
}

Co<Result<ExitOutcome>> Daemon::wait(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_return co_await containerizer_.wait(container->id);
}

Co<Result<void>> Daemon::kill(ContainerId id, int signal) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_return co_await containerizer_.kill(container->id, signal);
}

Co<Result<ExitOutcome>> Daemon::stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                                     std::optional<int> signal) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  const uint32_t run = container->restarts;
  GANTRY_CO_TRY(co_await containerizer_.stop(container->id, grace, signal));
  if (container->restarts != run) {
    co_return ExitOutcome{ExitOutcome::Kind::lost, 0, false, "another client has started it again"};
  }
  co_return co_await containerizer_.wait(container->id);
}

Co<Result<void>> Daemon::start(ContainerId id, Readers readers,
                               std::optional<int64_t> after_end_ns) {
  last_request_ns_ = sys::monotonic_ns();
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  if (readers == Readers::come) container->awaits_reader = true;
  co_return co_await containerizer_.start(container->id, after_end_ns);
}

Co<Result<void>> Daemon::update(ContainerId id, ContainerSpec wanted) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_return co_await containerizer_.update(container->id, std::move(wanted));
}

Co<Result<void>> Daemon::pause(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_return co_await containerizer_.pause(container->id);
}

Co<Result<void>> Daemon::resume(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_return co_await containerizer_.resume(container->id);
}

Co<Result<void>> Daemon::remove(ContainerId id, Force force) {
  last_request_ns_ = sys::monotonic_ns();
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  GANTRY_CO_TRY(co_await containerizer_.remove(
      container->id, force == Force::yes ? Containerizer::Force::yes : Containerizer::Force::no));
  co_return co_await checkpoints_.forget(container->id);
}

ContainerSummary Daemon::summarize(const Container& container) const {
  const ContainerSpec& spec = *container.spec;
  ContainerSummary out{.id = container.id, .name = spec.name, .state = container.state()};
  if (auto* image = std::get_if<ImageRoot>(&spec.root)) out.image = image->reference;
  if (auto* directory = std::get_if<DirectoryRoot>(&spec.root)) out.image = directory->path;
  out.image_digest = container.image_digest;
  out.command = spec.process.args;
  if (container.process) out.pid = container.process->pid();
  out.created_ns = container.created_ns;
  out.started_ns = container.started_ns;
  if (container.outcome) out.finished_ns = container.exited_ns;
  out.outcome = container.outcome;
  if (auto address = network_.address_of(container.id)) {
    out.ip_addresses.push_back(address->to_string());
  }
  const std::vector<PortMapping>* const ports = network_.ports_of(container.id);
  out.ports = ports != nullptr ? *ports : spec.network.ports;
  out.labels = spec.labels;
  out.hostname = container.hostname;
  out.restarts = container.restarts;
  out.restart_due = container.restart_due;
  if (container.health) {
    out.health = Health{.status = container.health->status,
                        .failing_streak = container.health->failing_streak,
                        .log = {}};
  }
  return out;
}

Co<Result<std::vector<ContainerSummary>>> Daemon::list() {
  std::vector<ContainerSummary> out;
  for (const ContainerPtr& container : containerizer_.list()) {
    out.push_back(summarize(*container));
    if (out.size() % kSummarizedAtOnce == 0) co_await asio::post(asio::use_awaitable);
  }
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.created_ns > b.created_ns; });
  co_return out;
}

Co<Result<ContainerDetails>> Daemon::inspect(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  ContainerDetails out{.summary = summarize(*container),
                       .request_bytes = container->spec->request_bytes};
  if (container->health) out.summary.health = container->health;
  for (const PhaseTime& phase : container->phases) {
    out.phases.emplace_back(phase.name, phase.duration);
    out.total += phase.duration;
  }
  out.sandbox = out.log_directory = containerizer_.sandbox_of(*container);
  out.record_directory = containerizer_.runtime_dir_of(*container);
  if (container->rootfs.kind == Rootfs::Kind::directory) out.rootfs = container->rootfs.directory;
  if (container->rootfs.kind == Rootfs::Kind::overlay) out.rootfs = container->rootfs.upper;
  out.isolators = containerizer_.isolator_names();
  out.cgroups = containerizer_.cgroups().paths(ContainerCgroups::name_of(container->id));
  out.checkpoints = co_await checkpoints_.names_of(container->id);
  co_return out;
}

Co<Result<std::vector<ContainerUsage>>> Daemon::usage(std::vector<ContainerId> ids) {
  std::vector<ContainerPtr> containers;
  if (ids.empty()) {
    for (const ContainerPtr& container : containerizer_.list()) {
      if (is_live(container->state()) && !container->parent) containers.push_back(container);
    }
  }
  for (const ContainerId& id : ids) containers.push_back(GANTRY_CO_TRY(resolve(id)));
  std::vector<ContainerUsage> out;
  for (const ContainerPtr& container : containers) {
    auto usage = co_await containerizer_.usage(container->id);
    if (usage) out.push_back({container->id, container->spec->name, *usage});
    // One pass over a thousand containers must not keep the loop from launching others.
    co_await asio::post(asio::use_awaitable);
  }
  co_return out;
}

// ---- Files, output, input --------------------------------------------------------------------

Co<Result<FilePiece>> Daemon::read_file(std::string path, uint64_t offset, uint64_t length) {
  co_return read_container_file(containerizer_, path, offset, length);
}
Co<Result<std::vector<FileEntry>>> Daemon::list_files(std::string path) {
  co_return list_container_files(containerizer_, path);
}

Co<Result<std::unique_ptr<OutputStream>>> Daemon::attach_output(ContainerId id,
                                                                OutputOptions options) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  auto output = std::make_unique<ContainerOutput>(containerizer_.sandbox_of(*container), logs_,
                                                  container, options, executor_);
  GANTRY_CO_TRY(co_await output->open());
  GANTRY_FAILPOINT_CO_TRY("attach.output");
  co_return std::unique_ptr<OutputStream>(std::move(output));
}

Co<Result<std::unique_ptr<InputSink>>> Daemon::attach_input(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  auto sink =
      GANTRY_CO_TRY(co_await open_container_input(containerizer_.backend(), container, inputs_));
  GANTRY_FAILPOINT_CO_TRY("attach.input");
  co_return std::move(sink);
}

Co<Result<std::unique_ptr<EventStream>>> Daemon::events(EventOptions options) {
  co_return events_.follow(std::move(options));
}

// ---- The host --------------------------------------------------------------------------------

Co<Result<std::vector<Finding>>> Daemon::doctor() {
  auto findings = GANTRY_CO_TRY(
      co_await offload([this]() -> Result<std::vector<Finding>> { return examine_host(config_); }));
  findings.push_back(co_await examine_criu());
  co_return findings;
}

bool Daemon::is_healthy() { return !end_; }

VersionFacts Daemon::version() { return {.version = kVersion}; }

std::vector<std::pair<std::string, double>> Daemon::metrics() {
  std::map<std::string, double> by_state;
  for (const ContainerPtr& container : containerizer_.list()) {
    by_state[std::string(to_string(container->state()))] += 1;
  }
  std::vector<std::pair<std::string, double>> out{
      {"containerizer/launches", static_cast<double>(launches_.all())},
      {"containerizer/launch_errors", static_cast<double>(launches_.failed())},
      {"containerizer/prepared_children", static_cast<double>(containerizer_.prepared_children())},
      {"containerizer/prepared_launches", static_cast<double>(containerizer_.prepared_launches())}};
  for (auto& [state, count] : by_state) out.emplace_back(cat("gantry/containers_", state), count);
  return out;
}

void Daemon::audit(const http::Peer& peer, const AuditLine& line) {
  last_request_ns_ = sys::monotonic_ns();
  audit_log_.write(peer, line);
}
}  // namespace gantry
