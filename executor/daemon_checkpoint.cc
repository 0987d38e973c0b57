// The Daemon's calls about checkpoints.
#include <sys/utsname.h>

#include <csignal>
#include <cstdio>

#include "checkpoint/criu_checkpointer.h"
#include "executor/daemon.h"

namespace gantry {
namespace {
std::vector<std::pair<std::string, std::chrono::microseconds>> pairs_of(
    const std::vector<StepTime>& steps) {
  std::vector<std::pair<std::string, std::chrono::microseconds>> out;
  for (const StepTime& step : steps) out.emplace_back(step.name, step.duration);
  return out;
}
}  // namespace

Co<Finding> Daemon::examine_criu() {
  constexpr const char* kFeature = "checkpoint and restore";
  constexpr const char* kRemedy = "tools/setup puts a working CRIU in place; then --criu PATH";
  Result<std::string> program = find_criu(config_.criu);
  Result<std::string> version =
      program ? co_await checkpoints_.check() : Result<std::string>(program.error());
  if (version && !saves_inet_sockets(*version)) {
    co_return Finding{Finding::Verdict::degraded, kFeature,
                      cat("CRIU ", *version, ", ", *program,
                          ": saves no process with a TCP or UDP socket on this kernel"),
                      "CRIU 4.2 or newer does on Linux 6.16 or newer; --criu PATH names it"};
  }
  if (version)
    co_return Finding{Finding::Verdict::ok, kFeature, cat("CRIU ", *version, ", ", *program), {}};
  co_return Finding{Finding::Verdict::degraded, kFeature, version.error().to_string(), kRemedy};
}

Co<Result<CheckpointAnswer>> Daemon::checkpoint(ContainerId id, CheckpointOptions options) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  CheckpointRun run{.name = options.name,
                    .leave_running = options.leave_running,
                    .tcp_established = options.tcp_established,
                    .file_locks = options.file_locks};
  ContainerCheckpoints::Made made =
      GANTRY_CO_TRY(co_await checkpoints_.checkpoint(container->id, std::move(run)));
  // The end of a whole checkpoint is the checkpointer's SIGKILL.
  std::optional<ExitOutcome>& outcome = container->outcome;
  if (!options.leave_running && outcome && outcome->kind == ExitOutcome::Kind::signalled &&
      outcome->code == SIGKILL && container->state() == ContainerState::exited) {
    outcome->reason = cat("checkpointed as ", made.name);
    containerizer_.write_record(*container).ignore("then it is shown as ended by SIGKILL");
  }
  co_return CheckpointAnswer{.name = made.name,
                             .path = checkpoints_.path_of(made.name),
                             .size = made.stats.size,
                             .frozen = made.stats.frozen,
                             .total = made.stats.total,
                             .steps = pairs_of(made.stats.steps)};
}

Co<Result<RestoreAnswer>> Daemon::restore(RestoreOptions options) {
  if (!options.name.empty()) {
    co_return Error(Errc::unsupported,
                    "name: a checkpoint is restored into the container it was made of");
  }
  if (options.id) {
    // The container that is meant: its own checkpoints only.
    ContainerPtr container = GANTRY_CO_TRY(resolve(*options.id));
    Result<std::string> owner = co_await checkpoints_.owner_of(options.checkpoint);
    if (!owner && owner.error().is(Errc::not_found)) {
      // The container itself named as the checkpoint: its newest.
      Result<ContainerPtr> named = containerizer_.resolve(options.checkpoint);
      const bool is_newest = named && *named == container;
      co_return co_await checkpoints_.missing(container, is_newest ? "" : options.checkpoint);
    }
    if (!owner) co_return std::move(owner).error();
    if (*owner != container->id.to_string()) {
      co_return Error(Errc::invalid, cat("checkpoint: '", options.checkpoint, "' is of container ",
                                         *owner, ", not of ", container->id.to_string()));
    }
  }
  CheckpointRun run{.name = {}, .tcp_established = options.tcp_established};
  auto restored = GANTRY_CO_TRY(co_await checkpoints_.restore(options.checkpoint, std::move(run)));
  co_return RestoreAnswer{
      .id = restored.id, .total = restored.total, .steps = pairs_of(restored.steps)};
}
}  // namespace gantry
