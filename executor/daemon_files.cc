// The Daemon's calls about files of a container's root: a worker reads or writes them, behind a
// pipe.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "base/sys.h"
#include "executor/body_pipe.h"
#include "executor/daemon.h"
#include "executor/piped_work.h"

namespace gantry {
namespace {
// A client that reads or sends slowly is nobody's business; one that is gone ends it.
constexpr Duration kLimit = std::chrono::hours(24);
constexpr Duration kLookLimit = std::chrono::minutes(10);

Result<void> add_directory(WorkerRequest& request, const std::string& path) {
  request.fds.push_back(GANTRY_TRY(sys::open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)));
  return {};
}

// One whose first process is gone is over in a moment.
constexpr Duration kEndingLimit = std::chrono::seconds(10);
Co<void> await_end(ContainerPtr container) {
  const auto deadline = std::chrono::steady_clock::now() + kEndingLimit;
  while (container->process && container->process->ended() && !container->outcome) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero() || co_await is_cancelled()) co_return;
    co_await container->changed.wait(left);
  }
}

// What a running one sees; of another one what it would.
Result<void> add_root(const Container& container, bool is_written, WorkerRequest& request) {
  if (container.process && !container.outcome) {
    const std::string proc = cat("/proc/", container.process->pid());
    request.fields.add("root", "namespace");
    request.fds.push_back(GANTRY_TRY(sys::open(proc + "/ns/mnt", O_RDONLY)));
    request.fds.push_back(GANTRY_TRY(sys::open(proc + "/root", O_PATH | O_DIRECTORY)));
    // ORDER: afterwards: as long as it lives the number is its own.
    if (container.process->ended()) {
      return Error(Errc::busy, cat("container '", container.id.to_string(), "' is just ending"));
    }
    return {};
  }
  const Rootfs& root = container.rootfs;
  switch (root.kind) {
    case Rootfs::Kind::host:
      return Error(Errc::unsupported, cat("container '", container.id.to_string(),
                                          "' has the host's root and does not run: its files "
                                          "are the host's"));
    case Rootfs::Kind::directory:
      request.fields.add("root", "directory");
      return add_directory(request, root.directory);
    case Rootfs::Kind::overlay:
      break;
  }
  request.fields.add("root", "overlay");
  GANTRY_TRY(add_directory(request, root.upper));
  if (is_written) {
    request.fields.add("upper", "");
    GANTRY_TRY(add_directory(request, root.work));
  }
  for (const std::string& layer : root.lowers) GANTRY_TRY(add_directory(request, layer));
  return {};
}

// Nothing is mounted in one that does not run: a copy would be beside its volume, and unseen.
Result<void> require_no_volume(const Container& container, const std::string& path) {
  if (container.process && !container.outcome) return {};
  const std::string wanted = (std::filesystem::path("/") / path).lexically_normal().string() + "/";
  for (const MountSpec& mount : container.spec->mounts) {
    if (!wanted.starts_with(mount.destination + "/")) continue;
    const bool is_bind = mount.type == MountSpec::Type::bind;
    return Error(Errc::busy,
                 cat("container '", container.id.to_string(), "' does not run, and ",
                     mount.destination, " is mounted while it runs only: start it first",
                     is_bind ? cat(", or use ", mount.source, " on the host") : std::string()));
  }
  return {};
}

// Whether the worker has done all of it, and what it left out.
Co<Result<uint64_t>> run_to_end(Containerizer& containerizer, ContainerPtr container,
                                WorkerRequest request) {
  const Fields done =
      GANTRY_CO_TRY(co_await containerizer.run_on_files(std::move(container), std::move(request)));
  if (!done.has("left_out")) co_return uint64_t{0};
  co_return done.number<uint64_t>("left_out");
}

// What `request` writes to the descriptor that is added to it.
Result<std::unique_ptr<TarStream>> begin_piped(Containerizer& containerizer, ContainerPtr container,
                                               WorkerRequest request,
                                               const asio::any_io_executor& executor) {
  sys::Pipe pipe = GANTRY_TRY(open_transfer_pipe(OwnEnd::read));
  request.fds.push_back(std::move(pipe.write));
  return std::make_unique<PipedWork>(
      run_to_end(containerizer, std::move(container), std::move(request)), std::move(pipe.read),
      executor);
}

Result<const Rootfs*> layer_of(const Container& container) {
  const Rootfs& root = container.rootfs;
  if (root.kind == Rootfs::Kind::overlay && !root.upper.empty()) return &root;
  return Error(Errc::unsupported,
               cat("container '", container.id.to_string(),
                   "' has no layer of its own over an image: what it changed is not known "
                   "(`gantry export` gives its files)"));
}
}  // namespace

std::vector<std::string> Daemon::mounted_places(const Container& container) {
  std::vector<std::string> out = {"/proc",
                                  "/sys",
                                  "/dev",
                                  "/etc/hosts",
                                  "/etc/hostname",
                                  "/etc/resolv.conf",
                                  "/mnt/mesos/sandbox"};
  for (const MountSpec& mount : container.spec->mounts) out.push_back(mount.destination);
  return out;
}

Co<Result<std::unique_ptr<TarStream>>> Daemon::copy_out(ContainerId id, CopyOptions options) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_await await_end(container);
  GANTRY_CO_TRY(require_no_volume(*container, options.path));
  WorkerRequest request{.job = "collect", .limit = kLimit};
  request.fields.add("path", options.path);
  if (options.one_file_system) request.fields.add("stay", "");
  if (options.no_devices) request.fields.add("no_devices", "");
  if (options.sparse) request.fields.add("sparse", "");
  GANTRY_CO_TRY(add_root(*container, false, request));
  co_return begin_piped(containerizer_, std::move(container), std::move(request), executor_);
}

Co<Result<std::vector<FileChange>>> Daemon::diff(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_await await_end(container);
  const Rootfs& root = *GANTRY_CO_TRY(layer_of(*container));
  WorkerRequest request{.job = "changes", .limit = kLookLimit};
  GANTRY_CO_TRY(add_directory(request, root.upper));
  for (const std::string& layer : root.lowers) GANTRY_CO_TRY(add_directory(request, layer));
  for (const std::string& place : mounted_places(*container)) request.fields.add("place", place);
  const auto lines = GANTRY_CO_TRY(
      begin_piped(containerizer_, std::move(container), std::move(request), executor_));
  std::vector<FileChange> out;
  std::string rest;
  Result<std::string> piece = co_await lines->next();
  for (; piece && !piece->empty(); piece = co_await lines->next()) {
    rest += *piece;
    size_t start = 0;
    for (size_t end; (end = rest.find('\0', start)) != rest.npos; start = end + 1) {
      out.push_back({rest[start], rest.substr(start + 1, end - start - 1)});
    }
    rest.erase(0, start);
  }
  (co_await uncancellable(lines->close())).ignore("nothing is left of it");
  GANTRY_CO_TRY(std::move(piece));
  co_return out;
}

Co<Result<CopiedIn>> Daemon::copy_in(ContainerId id, CopyOptions options, http::BodyStream& body) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_await await_end(container);
  GANTRY_CO_TRY(require_no_volume(*container, options.path));
  WorkerRequest request{.job = "place", .limit = kLimit};
  request.fields.add("path", options.path);
  if (options.contents) request.fields.add("contents", "");
  if (options.owners) request.fields.add("owners", "");
  GANTRY_CO_TRY(add_root(*container, true, request));
  const bool mounts_layer = request.fields.has("upper");
  if (mounts_layer) GANTRY_CO_TRY(Containerizer::require_unwritten(*container));
  if (mounts_layer) container->is_written = true;
  Result<Fields> copied =
      co_await feed_body<Fields>(body, executor_, [this, &request, &container](UniqueFd stream) {
        request.input = std::move(stream);
        return containerizer_.run_on_files(container, std::move(request));
      });
  if (mounts_layer) container->is_written = false;
  container->changed.notify();
  const Fields done = GANTRY_CO_TRY(std::move(copied));
  co_return CopiedIn{GANTRY_CO_TRY(done.number<uint64_t>("entries")),
                     GANTRY_CO_TRY(done.number<uint64_t>("bytes"))};
}
}  // namespace gantry
