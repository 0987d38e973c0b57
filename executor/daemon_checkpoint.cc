// The Daemon's calls about checkpoints.
#include "executor/daemon.h"

namespace gantry {
Co<Result<CheckpointAnswer>> Daemon::checkpoint(ContainerId id, CheckpointOptions options) {
  (void)id, (void)options;
  co_return Error(Errc::unsupported, "checkpoint: not wired yet");
}
Co<Result<RestoreAnswer>> Daemon::restore(RestoreOptions options) {
  (void)options;
  co_return Error(Errc::unsupported, "restore: not wired yet");
}
}  // namespace gantry
