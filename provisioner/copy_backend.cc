#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/sys.h"
#include "provisioner/backends.h"

namespace gantry {
namespace {
constexpr auto kCopyLimit = std::chrono::minutes(60);

class CopyBackend final : public SnapshotBackend {
 public:
  CopyBackend(WorkerClient& worker, Trash& trash, BackendDirectories directories)
      : worker_(worker), trash_(trash), directories_(std::move(directories)) {}
  std::string_view name() const override { return "copy"; }

  Co<Result<Rootfs>> prepare(std::string key, SnapshotParent parent) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    auto done = co_await copy(key, std::move(parent));
    if (!done) co_return std::move(done).error().context("snapshot ", key);
    co_return describe(key);
  }
  Co<Result<Rootfs>> open(std::string key, SnapshotParent) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    if (::faccessat(AT_FDCWD, path(key).c_str(), F_OK, 0) != 0) {
      co_return Error(Errc::not_found, cat("snapshot ", key, " is not there"));
    }
    co_return describe(key);
  }
  // A view is a copy of its own: a layer must not be handed out writable.
  Co<Result<Rootfs>> view(std::string key, SnapshotParent parent) override {
    return prepare(std::move(key), std::move(parent));
  }
  Co<Result<void>> remove(std::string key) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    co_return trash_.discard(AT_FDCWD, path(key)).context("remove snapshot ", key);
  }
  Co<Result<TreeUsage>> usage(std::string key) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    auto usage = co_await measure_tree(worker_, directories_.roots, key);
    if (!usage && usage.error().is_errno(ENOENT)) {
      co_return Error(Errc::not_found, cat("snapshot ", key, " is not there"));
    }
    co_return usage;
  }
  Result<std::vector<std::string>> list() override { return list_directory(directories_.roots); }

 private:
  std::string path(const std::string& key) const { return cat(directories_.roots, "/", key); }

  Rootfs describe(const std::string& key) const {
    Rootfs out;
    out.kind = Rootfs::Kind::directory;
    out.directory = path(key);
    out.snapshot_key = key;
    return out;
  }

  // Into staging, then renamed: a snapshot is whole or absent.
  Co<Result<void>> copy(std::string key, SnapshotParent parent) {
    if (::faccessat(AT_FDCWD, path(key).c_str(), F_OK, 0) == 0) {
      co_return Error(Errc::already_exists, "the name is taken");
    }
    std::string staged = cat(directories_.staging, "/copy.", ::getpid(), ".", next_++);
    GANTRY_CO_TRY(sys::mkdir_at(AT_FDCWD, staged.c_str(), 0700));
    auto done = co_await copy_into(staged, std::move(parent));
    if (done &&
        ::renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, path(key).c_str(), RENAME_NOREPLACE) != 0) {
      done = errno == EEXIST ? Error(Errc::already_exists, "the name is taken")
                             : Error::from_errno(errno, "put the copy in place");
    }
    if (!done) trash_.discard(AT_FDCWD, staged).ignore("recover() removes what stays in staging");
    co_return done;
  }

  Co<Result<void>> copy_into(std::string staged, SnapshotParent parent) {
    WorkerRequest request;
    request.job = "copy";
    request.limit = kCopyLimit;
    request.fds.push_back(GANTRY_CO_TRY(sys::open(staged, O_PATH | O_DIRECTORY)));
    std::ranges::reverse(parent.layers);
    for (const std::string& layer : parent.layers) {
      request.fds.push_back(GANTRY_CO_TRY(sys::open(layer, O_PATH | O_DIRECTORY)));
    }
    GANTRY_CO_TRY(co_await worker_.run(std::move(request)));
    co_return Result<void>();
  }

  WorkerClient& worker_;
  Trash& trash_;
  BackendDirectories directories_;
  uint64_t next_ = 0;
};
}  // namespace

std::unique_ptr<SnapshotBackend> make_copy_backend(WorkerClient& worker, Trash& trash,
                                                   BackendDirectories directories) {
  return std::make_unique<CopyBackend>(worker, trash, std::move(directories));
}
}  // namespace gantry
