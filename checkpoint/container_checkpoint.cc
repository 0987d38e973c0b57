#include "checkpoint/container_checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "base/failpoint.h"
#include "base/sys.h"

namespace gantry {
namespace {
Result<void> check_name(const std::string& name) {
  bool good = !name.empty() && name.size() <= 128 && name[0] != '.' && name[0] != '-';
  for (char c : name) {
    good = good &&
           (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.');
  }
  if (good) return {};
  return Error(Errc::invalid, cat("name: a checkpoint's name has 1 to 128 of [A-Za-z0-9._-] and "
                                  "begins with a letter or digit"));
}

// What the host has mounted into the container: its binds, and the network's three files.
std::vector<HostMount> host_mounts(const Containerizer& containerizer, const Container& container) {
  std::vector<HostMount> out;
  for (const MountSpec& mount : container.spec->mounts) {
    if (mount.type != MountSpec::Type::tmpfs) out.push_back({mount.destination, mount.source});
  }
  if (!container.spec->sandbox_mount.empty()) {
    out.push_back({container.spec->sandbox_mount, containerizer.sandbox_of(container)});
  }
  if (container.rootfs.kind != Rootfs::Kind::host) {
    for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
      out.push_back({cat("/etc/", name), cat(containerizer.runtime_dir_of(container), "/", name)});
    }
  }
  return out;
}

struct Dump {
  Containerizer& containerizer;
  Checkpointer& checkpointer;
  std::string directory;
  CheckpointRun run;
  CheckpointStats stats;
};
Co<Result<void>> dump_container(Dump& dump, ContainerPtr container) {
  GANTRY_FAILPOINT_CO_TRY("checkpoint.before_dump");
  const NetworkSpec& network = container->spec->network;
  if (network.mode == NetworkSpec::Mode::host) {
    co_return Error(Errc::unsupported,
                    "network: a container on the host's network cannot be checkpointed");
  }
  std::string cgroup = ContainerCgroups::name_of(container->id);
  ContainerCgroups& cgroups = dump.containerizer.cgroups();
  CheckpointRequest request{.id = container->id,
                            .process = container->process->identity(),
                            .directory = dump.directory,
                            .freezer = cgroups.freezer_path(cgroup),
                            .freezer_is_v2 = cgroups.freezer_is_v2(cgroup),
                            .mounts = host_mounts(dump.containerizer, *container),
                            .identity = container->spec->request_bytes,
                            .leave_running = dump.run.leave_running,
                            .tcp_established = dump.run.tcp_established,
                            .file_locks = dump.run.file_locks};
  dump.stats = GANTRY_CO_TRY(co_await dump.checkpointer.dump(std::move(request)));
  GANTRY_FAILPOINT_CO_TRY("checkpoint.after_dump");
  co_return Result<void>();
}

std::string root_of(const Rootfs& rootfs) {
  if (rootfs.kind == Rootfs::Kind::directory) return rootfs.directory;
  return rootfs.kind == Rootfs::Kind::overlay && !rootfs.lowers.empty() ? rootfs.lowers[0]
                                                                        : std::string("/");
}
}  // namespace

Co<Result<ContainerCheckpoints::Made>> ContainerCheckpoints::checkpoint(ContainerId id,
                                                                        CheckpointRun run) {
  if (run.name.empty()) run.name = cat(id.directory_name(), "-", sys::realtime_ns() / 1'000'000);
  if (run.name[0] == '%') run.name.erase(0, 1);
  GANTRY_CO_TRY(check_name(run.name));
  GANTRY_CO_TRY(sys::ensure_directories(directory_, 0700));
  std::string directory = path_of(run.name);
  struct ::stat st;
  if (::stat(directory.c_str(), &st) == 0) {
    co_return Error(Errc::already_exists, cat("name: there is a checkpoint '", run.name, "'"));
  }
  Dump dump{containerizer_, checkpointer_, directory, std::move(run), {}};
  GANTRY_CO_TRY(co_await containerizer_.checkpoint(
      id, [&dump](ContainerPtr container) { return dump_container(dump, std::move(container)); }));
  co_return Made{dump.run.name, dump.stats};
}

// By its own name, else the newest one of a container.
Co<Result<std::string>> ContainerCheckpoints::find(std::string text) const {
  struct ::stat st;
  if (check_name(text) && ::stat(path_of(text).c_str(), &st) == 0) co_return path_of(text);
  ContainerPtr container = GANTRY_CO_TRY(containerizer_.resolve(text));
  std::string newest;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory_.c_str()), &::closedir);
  int64_t newest_time = -1;
  while (dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    std::string path = path_of(entry->d_name);
    if (entry->d_name[0] == '.' || ::stat(path.c_str(), &st) != 0) continue;
    Result<CheckpointSummary> summary = co_await checkpointer_.read(path);
    if (!summary || summary->container_id != container->id.to_string()) continue;
    int64_t time = st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec;
    if (time <= newest_time) continue;
    newest_time = time;
    newest = path;
  }
  if (newest.empty()) {
    co_return Error(Errc::not_found, cat("checkpoint: container '", text, "' has none"));
  }
  co_return newest;
}

Co<Result<std::string>> ContainerCheckpoints::owner_of(std::string text) {
  std::string directory = GANTRY_CO_TRY(co_await find(std::move(text)));
  CheckpointSummary summary = GANTRY_CO_TRY(co_await checkpointer_.read(directory));
  co_return summary.container_id;
}

namespace {
struct RestoreRun {
  Containerizer& containerizer;
  Checkpointer& checkpointer;
  ContainerPtr container;
  std::string directory;
  CheckpointRun options;
  std::chrono::microseconds total{0};
};
Co<Result<ProcessRef>> restore_processes(RestoreRun& run, RestoreInputs inputs) {
  const Container& container = *run.container;
  RestoreRequest request{
      .id = container.id,
      .key = container.id.hash(),
      .directory = run.directory,
      .plan = std::move(inputs.plan),
      .root = root_of(container.rootfs),
      .cgroup_namespace = container.spec->namespaces.cgroup.kind == NamespaceChoice::Kind::private_,
      .mounts = host_mounts(run.containerizer, container),
      .stdin_read = std::move(inputs.stdin_read),
      .stdout_write = std::move(inputs.stdout_write),
      .stderr_write = std::move(inputs.stderr_write),
      .io = std::move(inputs.io),
      .security = container.spec->security,
      .tcp_established = run.options.tcp_established,
      .file_locks = run.options.file_locks,
      .before_resume = std::move(inputs.before_resume)};
  RestoredProcess restored = GANTRY_CO_TRY(co_await run.checkpointer.restore(std::move(request)));
  run.total = restored.total;
  co_return std::move(restored.process);
}
}  // namespace

Co<Result<ContainerCheckpoints::Restored>> ContainerCheckpoints::restore(std::string text,
                                                                         CheckpointRun options) {
  std::string directory = GANTRY_CO_TRY(co_await find(text));
  CheckpointSummary summary = GANTRY_CO_TRY(co_await checkpointer_.read(directory));
  ContainerId id = GANTRY_CO_TRY(ContainerId::parse(summary.container_id));
  ContainerPtr container = containerizer_.find(id);
  if (!container) {
    co_return Error(Errc::not_found, cat("container '", id.to_string(),
                                         "' of this checkpoint was removed, and its writable layer "
                                         "with it: nothing to restore into"));
  }
  RestoreRun run{containerizer_, checkpointer_, container, directory, std::move(options)};
  GANTRY_CO_TRY(co_await containerizer_.restore(
      id, [&run](RestoreInputs inputs) { return restore_processes(run, std::move(inputs)); }));
  co_return Restored{id, run.total};
}
}  // namespace gantry
