#include "checkpoint/container_checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

// What can be known before anything is made or frozen.
Result<void> check_possible(const ContainerSpec& spec) {
  const bool is_host = spec.network.mode == NetworkSpec::Mode::host ||
                       spec.namespaces.network.kind != NamespaceChoice::Kind::private_;
  if (is_host) {
    return Error(Errc::unsupported,
                 "network: a container on the host's network, or another's, cannot be "
                 "checkpointed; run it with --network bridge or none");
  }
  if (spec.process.terminal) {
    return Error(Errc::unsupported,
                 "a container with a terminal (-t) cannot be checkpointed; run it without -t");
  }
  if (spec.remove_on_exit) {
    return Error(Errc::unsupported,
                 "a container that is removed when it ends (--rm) could not be restored; run it "
                 "without --rm");
  }
  return {};
}

struct Dump {
  Containerizer& containerizer;
  Checkpointer& checkpointer;
  const ContainerCheckpoints::Identity& identity;
  std::string directory;
  CheckpointRun run;
  CheckpointStats stats;
};
Co<Result<void>> dump_container(Dump& dump, ContainerPtr container, bool is_paused) {
  GANTRY_FAILPOINT_CO_TRY("checkpoint.before_dump");
  std::string cgroup = ContainerCgroups::name_of(container->id);
  ContainerCgroups& cgroups = dump.containerizer.cgroups();
  CheckpointRequest request{.id = container->id,
                            .process = container->process->identity(),
                            .directory = dump.directory,
                            .freezer = cgroups.freezer_path(cgroup),
                            .freezer_is_v2 = cgroups.freezer_is_v2(cgroup),
                            .is_paused = is_paused,
                            .mounts = host_mounts(dump.containerizer, *container),
                            .identity = dump.identity(container->spec->request_bytes),
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
  if (ContainerPtr container = containerizer_.find(id)) {
    GANTRY_CO_TRY(check_possible(*container->spec));
  }
  GANTRY_CO_TRY(sys::ensure_directories(directory_, 0700));
  std::string directory = path_of(run.name);
  struct ::stat st;
  if (::stat(directory.c_str(), &st) == 0) {
    co_return Error(Errc::already_exists, cat("name: there is a checkpoint '", run.name, "'"));
  }
  const auto after =
      run.leave_running ? Containerizer::AfterDump::goes_on : Containerizer::AfterDump::ends;
  Dump dump{containerizer_, checkpointer_, identity_, directory, std::move(run), {}};
  GANTRY_CO_TRY(co_await containerizer_.checkpoint(
      id,
      [&dump](ContainerPtr container, bool is_paused) {
        return dump_container(dump, std::move(container), is_paused);
      },
      after));
  // A checkpoint goes with its container, which may have been removed while this was written.
  if (!containerizer_.find(id)) {
    (co_await checkpointer_.remove(dump.directory)).ignore("at the next recovery");
    co_return Error(Errc::not_found, cat("container '", id.to_string(), "' was removed meanwhile"));
  }
  co_return Made{dump.run.name, dump.stats};
}

std::vector<std::string> ContainerCheckpoints::names() const {
  std::vector<std::string> out;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory_.c_str()), &::closedir);
  while (dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") out.emplace_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Co<Result<void>> ContainerCheckpoints::recover() {
  for (const std::string& name : names()) {
    (co_await checkpointer_.recover(path_of(name))).ignore("tried again next time");
  }
  for (const std::string& name : names()) {
    if (name[0] == '.') continue;
    Result<CheckpointSummary> summary = co_await checkpointer_.read(path_of(name));
    // Without a record its removal had begun. Damaged ones are left for people to look at; a
    // restore says what is wrong.
    const bool has_record = ::access(cat(path_of(name), "/record").c_str(), F_OK) == 0;
    if (!summary && has_record) continue;
    Result<ContainerId> id = Error(Errc::corrupt, "no record");
    if (summary) id = ContainerId::parse(summary->container_id);
    if (summary && (!id || containerizer_.find(*id))) continue;
    (co_await checkpointer_.remove(path_of(name))).ignore("tried again next time");
  }
  co_return Result<void>();
}

Co<Result<void>> ContainerCheckpoints::forget(ContainerId id) {
  for (const std::string& name : names()) {
    if (name[0] == '.') continue;
    Result<CheckpointSummary> summary = co_await checkpointer_.read(path_of(name));
    if (!summary || summary->container_id != id.to_string()) continue;
    GANTRY_CO_TRY(co_await checkpointer_.remove(path_of(name)));
  }
  co_return Result<void>();
}

Co<std::vector<std::string>> ContainerCheckpoints::names_of(ContainerId id) const {
  std::vector<std::pair<int64_t, std::string>> found;
  for (std::string& name : names()) {
    if (name[0] == '.') continue;
    Result<CheckpointSummary> summary = co_await checkpointer_.read(path_of(name));
    if (!summary || summary->container_id != id.to_string()) continue;
    found.emplace_back(summary->created_ns, std::move(name));
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> out;
  for (auto& [created_ns, name] : found) out.push_back(std::move(name));
  co_return out;
}

Co<Error> ContainerCheckpoints::missing(ContainerPtr container, std::string wanted) const {
  const std::string shown =
      container->spec->name.empty() ? container->id.to_string() : container->spec->name;
  std::string there;
  for (const std::string& name : co_await names_of(container->id)) {
    there += cat(there.empty() ? "" : ", ", name);
  }
  std::string text = cat("container '", shown, "' has no checkpoint");
  if (!wanted.empty()) text += cat(" '", wanted, "'");
  text += there.empty() ? cat(": `gantry checkpoint ", shown, "` makes one while it runs")
                        : cat(". It has: ", there, " (`gantry inspect ", shown, "` lists them)");
  co_return Error(Errc::not_found, text);
}

// By its own name, else the newest one of a container.
Co<Result<std::string>> ContainerCheckpoints::find(std::string text) const {
  struct ::stat st;
  if (check_name(text) && ::stat(path_of(text).c_str(), &st) == 0) co_return path_of(text);
  ContainerPtr container = GANTRY_CO_TRY(containerizer_.resolve(text));
  const std::vector<std::string> made = co_await names_of(container->id);
  if (made.empty()) co_return co_await missing(container, {});
  co_return path_of(made.back());
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
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::vector<StepTime> steps = {};
};
std::chrono::microseconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               start);
}
Co<Result<ProcessRef>> restore_processes(RestoreRun& run, RestoreInputs inputs) {
  const Container& container = *run.container;
  const std::string cgroup = ContainerCgroups::name_of(container.id);
  ContainerCgroups& cgroups = run.containerizer.cgroups();
  RestoreRequest request{
      .id = container.id,
      .key = container.id.hash(),
      .directory = run.directory,
      .plan = std::move(inputs.plan),
      .root = root_of(container.rootfs),
      .cgroup_namespace = container.spec->namespaces.cgroup.kind == NamespaceChoice::Kind::private_,
      .freezer = cgroups.freezer_path(cgroup),
      .freezer_is_v2 = cgroups.freezer_is_v2(cgroup),
      .helper_cgroup = cgroups.freezer_launcher_path(cgroup),
      .mounts = host_mounts(run.containerizer, container),
      .stdin_read = std::move(inputs.stdin_read),
      .stdout_write = std::move(inputs.stdout_write),
      .stderr_write = std::move(inputs.stderr_write),
      .io = std::move(inputs.io),
      .security = container.spec->security,
      .user = container.credentials,
      .tcp_established = run.options.tcp_established,
      .file_locks = run.options.file_locks,
      .before_resume = std::move(inputs.before_resume)};
  run.steps.push_back({"prepare", since(run.start)});
  RestoredProcess restored = GANTRY_CO_TRY(co_await run.checkpointer.restore(std::move(request)));
  for (StepTime& step : restored.steps) run.steps.push_back(std::move(step));
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
  // Older ones have the whole request.
  const std::string& request = container->spec->request_bytes;
  if (summary.identity != identity_(request) && summary.identity != request) {
    co_return Error(Errc::corrupt, cat("this checkpoint was not made of container '",
                                       id.to_string(), "' as it is: their requests differ"));
  }
  RestoreRun run{containerizer_, checkpointer_, container, directory, std::move(options)};
  GANTRY_CO_TRY(co_await containerizer_.restore(
      id, [&run](RestoreInputs inputs) { return restore_processes(run, std::move(inputs)); }));
  co_return Restored{id, since(run.start), std::move(run.steps)};
}
}  // namespace gantry
