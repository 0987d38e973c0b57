#include "executor/wiring.h"

#include <glog/logging.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/wire/parse.h"
#include "api/wire/scheduler.h"
#include "checkpoint/criu_checkpointer.h"
#include "containerizer/garbage.h"
#include "containerizer/room.h"
#include "base/failpoint.h"
#include "base/sealed_program.h"
#include "base/sys.h"
#include "executor/agent.h"
#include "executor/event_log.h"
#include "executor/http/router.h"
#include "executor/host_metrics.h"
#include "executor/http/server.h"
#include "executor/operator_api.h"
#include "executor/process.h"
#include "executor/scheduler/scheduler_api.h"
#include "executor/tls_door.h"
#include "fetcher/fetcher.h"
#include "isolators/default_isolators.h"
#include "launcher/log_client.h"
#include "launcher/remote_launcher.h"
#include "network/network_isolator.h"
#include "provisioner/provisioner.h"

namespace gantry {
namespace {
constexpr size_t kCgroupPool = 16;

// The programs beside ours: build/release/bin, or where the package put them.
Result<std::string> program_directory() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return Error::from_errno(errno, "find our own program");
  std::string_view whole(path, static_cast<size_t>(n));
  return std::string(whole.substr(0, whole.rfind('/')));
}

// A former socket of ours, or systemd's, that clients still find at the path.
bool is_at(const UniqueFd& socket, const std::string& path) {
  sockaddr_un address = {};
  socklen_t size = sizeof address;
  if (!socket || ::access(path.c_str(), F_OK) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return false;
  }
  // KERNEL: a socket keeps the name it was bound to; ours are renamed to the path afterwards.
  return address.sun_family == AF_UNIX &&
         (path == address.sun_path || cat(path, ".", ::getpid()) == address.sun_path);
}

Result<UniqueFd> listen_on(const std::string& path) {
  std::optional<gid_t> group = gantry_group();
  UniqueFd fd = GANTRY_TRY(sys::listen_unix(path, SOCK_STREAM, group ? 0660 : 0600, SOMAXCONN));
  if (group && ::chown(path.c_str(), 0, *group) != 0) {
    return Error::from_errno(errno, cat("give ", path, " to the group gantry"));
  }
  return fd;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

// What is run while we live, read now: a new installation changes nothing before the upgrade.
// (Launcher and logger: launcher/start_launcher.h.)
struct Sealed {
  UniqueFd worker, criu_tar;
  InitProgram init;
};
Result<Sealed> seal_programs(const std::string& directory, const std::string& runtime_dir) {
  return Sealed{.worker = GANTRY_TRY(seal_program(directory + "/gantry-worker")),
                .criu_tar = GANTRY_TRY(seal_program(directory + "/gantry-criu-tar")),
                .init = GANTRY_TRY(InitProgram::open(directory + "/gantry-init", runtime_dir))};
}

CgroupOptions cgroup_options(const Config& config) {
  CgroupOptions options = default_cgroup_options(config.cgroup_root);
  options.pool_size = kCgroupPool;
  return options;
}
}  // namespace

struct Wiring::Parts {
  Parts(const Config& c, asio::any_io_executor e, std::string programs_, Sealed sealed,
        std::unique_ptr<ContainerCgroups> cgroups_, AuditLog audit_)
      : config(c),
        executor(e),
        programs(std::move(programs_)),
        cgroups(std::move(cgroups_)),
        audit_log(std::move(audit_)),
        events(e),
        launcher(e),
        logs(e, c.runtime_dir),
        init(std::move(sealed.init)),
        worker(e, {.program = std::move(sealed.worker)}),
        fetcher(e, worker, {.cache_dir = c.data_dir + "/fetcher"}),
        server(e, {.connections = std::min<size_t>(1024, descriptor_limit() / 4)}) {}

  const Config& config;
  asio::any_io_executor executor;
  std::string programs;
  std::unique_ptr<ContainerCgroups> cgroups;
  AuditLog audit_log;
  EventLog events;
  RemoteLauncher launcher;
  LogClient logs;
  InitProgram init;
  WorkerClient worker;
  Fetcher fetcher;
  std::unique_ptr<Provisioner> provisioner;
  std::vector<std::unique_ptr<Isolator>> isolators;
  NetworkIsolator* network = nullptr;  // in `isolators`
  std::unique_ptr<Containerizer> containerizer;
  std::unique_ptr<Garbage> garbage;
  std::unique_ptr<CriuCheckpointer> checkpointer;
  std::unique_ptr<ContainerCheckpoints> checkpoints;
  std::unique_ptr<Daemon> daemon;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Agent> agent;
  std::unique_ptr<OperatorApi> operator_api;
  std::unique_ptr<HealthEndpoint> health;
  LaunchCounts launches;
  std::unique_ptr<HostMetricsSource> metrics_source;
  std::unique_ptr<MetricsEndpoint> metrics;
  std::unique_ptr<SchedulerApi> scheduler_api;
  http::Router router;
  http::Router insecure_router;  // the scheduler API alone
  http::Router metrics_router;   // what may be read by anybody who connects
  std::unique_ptr<TlsDoor> tls;  // null: closed
  http::Server server;
  Handed listening;  // duplicates of what the server listens on
};

Wiring::Wiring(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Wiring::~Wiring() = default;
Daemon& Wiring::daemon() { return *parts_->daemon; }

Result<std::unique_ptr<Wiring>> Wiring::build(const Config& config, StartedAs started_as,
                                              asio::any_io_executor executor) {
  CgroupLayout layout = GANTRY_TRY(CgroupLayout::detect());
  auto cgroups =
      GANTRY_TRY(ContainerCgroups::open(executor, std::move(layout), cgroup_options(config)));
  std::string programs = GANTRY_TRY(program_directory());
  Sealed sealed = GANTRY_TRY(seal_programs(programs, config.runtime_dir));
  UniqueFd criu_tar = std::move(sealed.criu_tar);
  auto parts = std::make_unique<Parts>(
      config, executor, std::move(programs), std::move(sealed), std::move(cgroups),
      GANTRY_TRY(AuditLog::open(config.data_dir, GANTRY_TRY(own_file_limits(config)))));
  Parts& p = *parts;
  p.provisioner = GANTRY_TRY(open_provisioner(executor, p.worker, {.data_dir = config.data_dir}));
  p.isolators = make_default_isolators(executor, *p.cgroups);
  BridgeOptions bridge{.instance = bridge_instance(config.runtime_dir)};
  if (!config.network_pool.empty()) {
    bridge.subnet = GANTRY_TRY(Ipv4Subnet::parse(config.network_pool).context("--network-pool"));
  }
  bridge.called = [&p](const std::string& id) {
    const Result<ContainerId> parsed = ContainerId::parse(id);
    const ContainerPtr container = parsed ? p.containerizer->find(*parsed) : nullptr;
    return container ? Daemon::called(*container) : id;
  };
  auto network = make_network_isolator(executor, std::move(bridge));
  p.network = network.get();
  p.isolators.push_back(std::move(network));
  std::vector<Isolator*> isolators;
  for (auto& isolator : p.isolators) isolators.push_back(isolator.get());
  p.containerizer = std::make_unique<Containerizer>(
      ContainerizerConfig{.runtime_dir = config.runtime_dir,
                          .data_dir = config.data_dir,
                          .log_limits = {GANTRY_TRY(parse_log_size(config.log_max_size)),
                                         static_cast<uint32_t>(config.log_max_files)},
                          .prepared_children = static_cast<size_t>(config.prepared_children)},
      ContainerizerParts{.backend = p.launcher,
                         .logs = p.logs,
                         .provisioner = *p.provisioner,
                         .fetcher = p.fetcher,
                         .worker = p.worker,
                         .cgroups = *p.cgroups,
                         .init = p.init,
                         .isolators = std::move(isolators),
                         .parse_spec = wire::parse_request_bytes,
                         .command_spec = wire::command_in},
      executor);
  p.containerizer->observe(observe_containers(p.events));
  p.garbage = std::make_unique<Garbage>(
      GarbageConfig{.data_dir = config.data_dir,
                    .most_exited = static_cast<size_t>(config.exited_containers),
                    .oldest_exited = std::chrono::seconds(config.exited_seconds),
                    .headroom_percent = config.disk_headroom_percent},
      *p.containerizer, executor);
  p.checkpointer = std::make_unique<CriuCheckpointer>(
      p.launcher, CriuSettings{.program = config.criu,
                               .tar = std::move(criu_tar),
                               .probe = config.runtime_dir + "/criu.probe"});
  p.checkpoints = std::make_unique<ContainerCheckpoints>(config.data_dir, *p.containerizer,
                                                         *p.checkpointer, wire::unchanging_request);
  p.daemon = std::make_unique<Daemon>(config, std::move(started_as), *p.containerizer,
                                      *p.provisioner, *p.checkpoints, *p.network, p.logs,
                                      p.audit_log, p.launches, p.events, executor);
  p.health = std::make_unique<HealthEndpoint>(*p.daemon);
  p.router.add("/health", *p.health);
  if (!config.listen_tls.empty()) p.tls = GANTRY_TRY(TlsDoor::open(config, p.router));
  p.metrics_source = std::make_unique<HostMetricsSource>(*p.daemon, *p.containerizer, p.server,
                                                         p.tls ? &p.tls->gatekeeper() : nullptr,
                                                         p.launches, p.audit_log);
  p.metrics = std::make_unique<MetricsEndpoint>(*p.metrics_source, executor);
  p.router.add("/metrics", *p.metrics);
  p.metrics_router.add("/metrics", *p.metrics);
  p.metrics_router.add("/health", *p.health);
  p.scheduler =
      std::make_unique<Scheduler>(SchedulerConfig{.data_dir = config.data_dir,
                                                  .hostname = host_name(),
                                                  .total = host_resources(config.data_dir)},
                                  SchedulerCodec{.parse_framework = wire::parse_framework_info,
                                                 .parse_task = wire::parse_task_info},
                                  *p.containerizer, p.launches, executor);
  p.agent = std::make_unique<Agent>(config, *p.scheduler, executor);
  p.operator_api = std::make_unique<OperatorApi>(*p.daemon, *p.agent);
  p.router.add("/api/v1", *p.operator_api);
  p.scheduler_api = std::make_unique<SchedulerApi>(*p.scheduler, *p.daemon);
  p.router.add("/api/v1/scheduler", *p.scheduler_api);
  p.insecure_router.add("/api/v1/scheduler", *p.scheduler_api);
  return std::unique_ptr<Wiring>(new Wiring(std::move(parts)));
}

void Wiring::reload() {
  if (!parts_->tls) return;
  const Result<void> reloaded = parts_->tls->reload();
  if (reloaded) {
    LOG(INFO) << "the files of --listen-tls are read anew";
  } else {
    LOG(ERROR) << "the old certificate and token count on: " << reloaded.error().to_string();
  }
}

void Wiring::say_stall(std::string_view key, int error) {
  for (const ContainerPtr& container : parts_->containerizer->list()) {
    if (container->id.hash() != key) continue;
    container->stall_error = error;
    container->changed.notify();
    if (error == 0) {
      LOG(INFO) << "output of container '" << container->id.to_string() << "' goes on";
    } else {
      LOG(WARNING) << "output of container '" << container->id.to_string()
                   << "' waits, and so does the container when it writes: "
                   << Error::from_errno(error, "write its log").to_string();
    }
  }
}

namespace {
// The one that was handed over where it is bound to the address.
Result<UniqueFd> listen_or_keep(UniqueFd handed, const std::string& address,
                                std::string_view setting) {
  if (handed && http::local_address(handed.get()).value_or(std::string()) == address) {
    return handed;
  }
  return http::listen_tcp(address).context(setting);
}
}  // namespace

// ORDER: everything is recovered.
Result<void> Wiring::listen_on_tcp(Handed& handed) {
  Parts& p = *parts_;
  if (!p.config.listen_insecure.empty()) {
    UniqueFd tcp = GANTRY_TRY(
        listen_or_keep(std::move(handed.insecure), p.config.listen_insecure, "--listen-insecure"));
    LOG(WARNING) << "every local user is root-equivalent through " << p.config.listen_insecure
                 << " (--listen-insecure)";
    p.listening.insecure = GANTRY_TRY(sys::duplicate(tcp.get()));
    GANTRY_TRY(p.server.serve(std::move(tcp), p.insecure_router));
  }
  if (p.tls) {
    UniqueFd tcp =
        GANTRY_TRY(listen_or_keep(std::move(handed.tls), p.config.listen_tls, "--listen-tls"));
    p.listening.tls = GANTRY_TRY(sys::duplicate(tcp.get()));
    LOG(INFO) << "serving " << http::local_address(tcp.get()).value_or(p.config.listen_tls)
              << " by TLS";
    GANTRY_TRY(p.server.serve(std::move(tcp), p.tls->gatekeeper(), &p.tls->context()));
  }
  if (!p.config.listen_metrics.empty()) {
    GANTRY_TRY(p.server.serve(
        GANTRY_TRY(http::listen_tcp(p.config.listen_metrics).context("--listen-metrics")),
        p.metrics_router));
  }
  return {};
}

Co<Result<void>> Wiring::start(Handed handed) {
  Parts& p = *parts_;
  GANTRY_CO_TRY(
      (co_await p.launcher.start_or_connect({.runtime_dir = p.config.runtime_dir,
                                             .launcher_binary = p.programs + "/gantry-launcher",
                                             .logger_binary = p.programs + "/gantry-logger",
                                             .cgroup_root = p.config.cgroup_root}))
          .context("start the launcher"));
  if (!p.launcher.upgrade_refused().empty()) {
    LOG(WARNING) << p.launcher.upgrade_refused() << "; the older launcher (pid "
                 << p.launcher.launcher_pid() << ") stays until no container runs";
  }
  GANTRY_FAILPOINT_CO_TRY("start.after_launcher");
  GANTRY_CO_TRY((co_await p.fetcher.recover()).context("recover the fetcher's cache"));
  GANTRY_CO_TRY((co_await p.containerizer->recover()).context("recover containers"));
  GANTRY_CO_TRY((co_await p.checkpoints->recover()).context("recover checkpoints"));
  std::vector<std::string> damaged = p.containerizer->damaged();
  GANTRY_CO_TRY((co_await p.scheduler->recover(damaged)).context("recover tasks"));
  for (const std::string& record : damaged) LOG(ERROR) << "set aside: " << record;
  for (const std::string& what : p.containerizer->left_behind()) {
    LOG(ERROR) << "left behind by an earlier executor, " << what;
  }
  GANTRY_FAILPOINT_CO_TRY("start.after_recovery");
  p.events.add({.type = "executor",
                .action = "start",
                .id = {},
                .name = {},
                .attributes = {},
                .message = {}});
  p.garbage->start();
  p.logs.watch_stalls([this](std::string_view key, int error) { say_stall(key, error); });
  // ORDER: listening last: who connects finds everything recovered.
  UniqueFd socket = is_at(handed.socket, p.config.socket)
                        ? std::move(handed.socket)
                        : GANTRY_CO_TRY(listen_on(p.config.socket));
  p.listening.socket = GANTRY_CO_TRY(sys::duplicate(socket.get()));
  GANTRY_CO_TRY(p.server.serve(std::move(socket), p.router));
  co_return listen_on_tcp(handed);
}

Co<Handed> Wiring::stop(Leave leave) {
  Parts& p = *parts_;
  if (leave != Leave::sockets) {
    ::unlink(p.config.socket.c_str());
    p.listening = Handed();
  }
  p.containerizer->prepare_to_leave();
  // These end the event streams, which would hold the server open.
  p.events.close(leave == Leave::nothing ? EventLog::Last::yes : EventLog::Last::no);
  co_await p.scheduler->close();
  co_await p.server.drain(std::chrono::seconds(5));
  co_await p.server.close();
  co_await p.garbage->close();
  co_await p.containerizer->close();
  co_await p.provisioner->close();
  co_await p.worker.close();
  if (leave == Leave::nothing) {
    for (auto [what, result] : {std::pair("network", co_await p.network->close()),
                                std::pair("launcher", co_await p.launcher.shutdown())}) {
      if (!result) LOG(WARNING) << "left behind, " << what << ": " << result.error().to_string();
    }
  }
  if (leave == Leave::found) {
    Result<void> ended = co_await p.launcher.shutdown_if_unused();
    if (!ended) LOG(WARNING) << "left behind, launcher: " << ended.error().to_string();
  }
  // What is in use stays; the pool, which may be filling up, goes in any case.
  Result<void> cgroups = co_await p.cgroups->close();
  if (!cgroups) LOG(WARNING) << "left behind, cgroups: " << cgroups.error().to_string();
  co_await p.logs.close();
  co_await p.launcher.close();
  co_return std::move(p.listening);
}
}  // namespace gantry
