#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "base/directory.h"
#include "base/sys.h"
#include "provisioner/backends.h"

namespace gantry {
namespace {
class OverlayBackend final : public SnapshotBackend {
 public:
  OverlayBackend(WorkerClient& worker, Trash& trash, BackendDirectories directories)
      : worker_(worker), trash_(trash), directories_(std::move(directories)) {}
  std::string_view name() const override { return "overlay"; }

  Co<Result<Rootfs>> prepare(std::string key, SnapshotParent parent) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    co_return create(key, parent).context("snapshot ", key);
  }
  Co<Result<Rootfs>> open(std::string key, SnapshotParent parent) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    for (const std::string& path : {upper(key), work(key)}) {
      if (::faccessat(AT_FDCWD, path.c_str(), F_OK, 0) != 0) {
        co_return Error(Errc::not_found, cat("snapshot ", key, " is not there"));
      }
    }
    co_return describe(key, parent);
  }
  Co<Result<Rootfs>> view(std::string key, SnapshotParent parent) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    Rootfs out;
    out.kind = Rootfs::Kind::overlay;
    out.lowers = parent.layers;
    // KERNEL: an overlay without an upper directory needs two lower ones (overlayfs.rst).
    if (out.lowers.size() == 1) out.lowers.push_back(directories_.empty);
    out.snapshot_key = key;
    co_return out;
  }
  Co<Result<void>> remove(std::string key) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    co_return discard(key).context("remove snapshot ", key);
  }
  Co<Result<TreeUsage>> usage(std::string key) override {
    GANTRY_CO_TRY(check_snapshot_key(key));
    auto usage = co_await measure_tree(worker_, directories_.roots, key);
    if (!usage && usage.error().is_errno(ENOENT)) {
      co_return Error(Errc::not_found, cat("snapshot ", key, " is not there"));
    }
    co_return usage;
  }
  Result<std::vector<std::string>> list() override {
    std::set<std::string> all;
    for (const std::string& directory : {directories_.roots, directories_.work}) {
      for (std::string& name : GANTRY_TRY(list_directory(directory))) all.insert(std::move(name));
    }
    return std::vector<std::string>(all.begin(), all.end());
  }

 private:
  std::string upper(const std::string& key) const { return cat(directories_.roots, "/", key); }
  std::string work(const std::string& key) const { return cat(directories_.work, "/", key); }

  // Two mkdirs: this is on the launch path.
  Result<Rootfs> create(const std::string& key, const SnapshotParent& parent) {
    std::string upper_path = upper(key), work_path = work(key);
    if (::mkdir(upper_path.c_str(), 0700) != 0) {
      if (errno == EEXIST) return Error(Errc::already_exists, "the name is taken");
      return Error::from_errno(errno, cat("make directory ", upper_path));
    }
    // The upper directory is what the container sees as "/". A umask of ours must not show.
    bool owned = (parent.root_uid == 0 && parent.root_gid == 0) ||
                 ::chown(upper_path.c_str(), parent.root_uid, parent.root_gid) == 0;
    if (owned && ::chmod(upper_path.c_str(), parent.root_mode) == 0 &&
        ::mkdir(work_path.c_str(), 0700) == 0) {
      return describe(key, parent);
    }
    int error = errno;
    ::rmdir(upper_path.c_str());
    if (error == EEXIST) return Error(Errc::already_exists, "the name is taken");
    return Error::from_errno(error, cat("set up ", upper_path));
  }

  Rootfs describe(const std::string& key, const SnapshotParent& parent) const {
    Rootfs out;
    out.kind = Rootfs::Kind::overlay;
    out.lowers = parent.layers;
    out.upper = upper(key);
    out.work = work(key);
    out.snapshot_key = key;
    return out;
  }

  // Nothing written: three rmdirs. Otherwise two renames, and the worker does the rest.
  Result<void> discard(const std::string& key) {
    std::string work_path = work(key), inner = cat(work_path, "/work");
    ::rmdir(inner.c_str());  // the kernel's own, inside the workdir
    if (::rmdir(work_path.c_str()) != 0 && errno != ENOENT) {
      GANTRY_TRY(trash_.discard(AT_FDCWD, work_path));
    }
    std::string upper_path = upper(key);
    if (::rmdir(upper_path.c_str()) != 0 && errno != ENOENT) {
      GANTRY_TRY(trash_.discard(AT_FDCWD, upper_path));
    }
    return {};
  }

  WorkerClient& worker_;
  Trash& trash_;
  BackendDirectories directories_;
};
}  // namespace

std::unique_ptr<SnapshotBackend> make_overlay_backend(WorkerClient& worker, Trash& trash,
                                                      BackendDirectories directories) {
  return std::make_unique<OverlayBackend>(worker, trash, std::move(directories));
}

Result<void> check_snapshot_key(const std::string& key) {
  if (!key.empty() && key.size() <= 200 && key[0] != '.' &&
      key.find_first_of(std::string_view("/\0", 2)) == std::string::npos) {
    return {};
  }
  return Error(Errc::invalid, cat("'", key.substr(0, 60), "' is not a snapshot's key"));
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  std::vector<std::string> names = GANTRY_TRY(names_in(AT_FDCWD, path.c_str()));
  std::erase_if(names, [](const std::string& name) { return name.starts_with('.'); });
  return names;
}

// A real overlay over three directories, attached nowhere and dropped at once.
Result<void> probe_overlay(const BackendDirectories& directories) {
  std::string base = cat(directories.staging, "/probe.", ::getpid());
  std::string upper = base + "/u", work = base + "/w", inner = work + "/work";
  auto failed = [](const char* what) { return Error::from_errno(errno, what); };
  auto tried = [&]() -> Result<void> {
    for (const std::string& path : {base, upper, work}) {
      GANTRY_TRY(sys::mkdir_at(AT_FDCWD, path.c_str(), 0700));
    }
    UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
    if (!context) return failed("fsopen overlay");
    auto set = [&](const char* key, const std::string& value) {
      return ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) ==
             0;
    };
    if (!set("lowerdir", directories.empty) || !set("upperdir", upper) || !set("workdir", work) ||
        ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
      return failed("make an overlay here");
    }
    UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
    if (!mount) return failed("mount an overlay here");
    // KERNEL: where the upper file system has no trusted xattrs the mount only warns, and
    // directories that were replaced would show what they replaced.
    UniqueFd fd = GANTRY_TRY(sys::open(upper, O_RDONLY | O_DIRECTORY));
    if (::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
      return failed("set a trusted attribute here");
    }
    return {};
  }();
  for (const std::string& path : {inner, work + "/index", work, upper, base}) ::rmdir(path.c_str());
  return tried;
}
}  // namespace gantry
