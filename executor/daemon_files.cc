// The Daemon's calls about files of a container's root: a worker reads or writes them, behind a
// pipe.
#include <fcntl.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/sys.h"
#include "executor/body_pipe.h"
#include "executor/daemon.h"

namespace gantry {
namespace {
constexpr size_t kPiece = 256u << 10;
// A client that reads or sends slowly is nobody's business; one that is gone ends it.
constexpr Duration kLimit = std::chrono::hours(24);

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

class CollectedFiles final : public TarStream {
 public:
  CollectedFiles(WorkerClient& worker, WorkerRequest request, UniqueFd pipe,
                 const asio::any_io_executor& executor)
      : pipe_(std::move(pipe)), work_(executor), scope_(executor) {
    scope_.spawn(run_beside(worker.run(std::move(request)), work_));
  }

  Co<Result<std::string>> next() override {
    std::string bytes(kPiece, '\0');
    for (;;) {
      const ssize_t n = ::read(pipe_.get(), bytes.data(), bytes.size());
      if (n > 0) {
        bytes.resize(static_cast<size_t>(n));
        co_return bytes;
      }
      if (n == 0) break;
      if (errno != EAGAIN && errno != EINTR) co_return Error::from_errno(errno, "read the tar");
      GANTRY_CO_TRY(co_await wait_fd(pipe_.get(), Readiness::read));
      if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
    }
    while (!work_.result) {
      co_await work_.done.wait();
      if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
    }
    GANTRY_CO_TRY(std::move(*work_.result));
    co_return std::string();
  }

  Co<Result<void>> close() override {
    pipe_.reset();
    co_await scope_.close();
    co_return Result<void>();
  }

 private:
  UniqueFd pipe_;
  Beside<Fields> work_;
  Scope scope_;
};
}  // namespace

Co<Result<std::unique_ptr<TarStream>>> Daemon::copy_out(ContainerId id, CopyOptions options) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_await await_end(container);
  WorkerRequest request{.job = "collect", .limit = kLimit};
  request.fields.add("path", options.path);
  if (options.one_file_system) request.fields.add("stay", "");
  if (options.no_devices) request.fields.add("no_devices", "");
  GANTRY_CO_TRY(add_root(*container, false, request));
  sys::Pipe pipe = GANTRY_CO_TRY(open_transfer_pipe(OwnEnd::read));
  request.fds.push_back(std::move(pipe.write));
  co_return std::make_unique<CollectedFiles>(containerizer_.worker(), std::move(request),
                                             std::move(pipe.read), executor_);
}

Co<Result<CopiedIn>> Daemon::copy_in(ContainerId id, CopyOptions options, http::BodyStream& body) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  co_await await_end(container);
  WorkerRequest request{.job = "place", .limit = kLimit};
  request.fields.add("path", options.path);
  if (options.contents) request.fields.add("contents", "");
  if (options.owners) request.fields.add("owners", "");
  GANTRY_CO_TRY(add_root(*container, true, request));
  const bool mounts_layer = request.fields.has("upper");
  if (mounts_layer) GANTRY_CO_TRY(Containerizer::require_unwritten(*container));
  if (mounts_layer) container->is_written = true;
  Result<Fields> copied =
      co_await feed_body<Fields>(body, executor_, [this, &request](UniqueFd stream) {
        request.input = std::move(stream);
        return containerizer_.worker().run(std::move(request));
      });
  if (mounts_layer) container->is_written = false;
  container->changed.notify();
  const Fields done = GANTRY_CO_TRY(std::move(copied));
  co_return CopiedIn{GANTRY_CO_TRY(done.number<uint64_t>("entries")),
                     GANTRY_CO_TRY(done.number<uint64_t>("bytes"))};
}
}  // namespace gantry
