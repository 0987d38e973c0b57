#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/path_at.h"
#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/tree.h"
#include "fetcher/worker/users.h"

namespace gantry::worker {
namespace {
Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

// KERNEL: lowerdir+ (one layer a call) since 6.7; before, one string. Before 6.5 a wrong option is
// found only when the overlay is made.
enum class Naming { one_by_one, one_string };

Result<UniqueFd> mount_overlay(const std::vector<UniqueFd>& layers, Naming naming) {
  UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!context) return failed("fsopen overlay");
  auto set = [&](const char* key, const std::string& value) {
    return ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  std::string all;
  bool added = true;
  for (const UniqueFd& layer : layers) {
    // Short names: the option must fit in 256 bytes for as many layers as possible.
    const std::string name = cat("/dev/fd/", layer.get());
    if (naming == Naming::one_by_one) added = added && set("lowerdir+", name);
    all += cat(all.empty() ? "" : ":", name);
  }
  if (naming == Naming::one_string) added = set("lowerdir", all);
  if (!added) return failed("name the layers of an overlay");
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return failed("make an overlay");
  }
  UniqueFd mount(static_cast<int>(
      ::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  if (!mount) return failed("mount an overlay");
  return mount;
}

// The merged view of layers (top first) as a detached, read-only mount; attached nowhere.
Result<UniqueFd> mount_layers(const std::vector<std::string>& layers) {
  std::vector<UniqueFd> fds;
  for (const std::string& layer : layers) {
    fds.push_back(GANTRY_TRY(sys::open(layer, O_PATH | O_DIRECTORY)));
  }
  if (layers.size() == 1) return std::move(fds[0]);
  auto mount = mount_overlay(fds, Naming::one_by_one);
  if (!mount && mount.error().is_errno(EINVAL)) mount = mount_overlay(fds, Naming::one_string);
  return mount;
}

Result<DirFd> open_root(const Fields& request) {
  if (!request.has("directory")) return DirFd(GANTRY_TRY(mount_layers(request.all("layer"))));
  return DirFd::open(std::string(request.get("directory")));
}

// A file of the container's database: regular, bounded, not of a kernel file system. Missing is
// empty.
Result<std::string> read_database(const DirFd& root, const char* path) {
  auto found = root.open_in_root(path, O_PATH);
  if (!found) {
    if (found.error().is_errno(ENOENT) || found.error().is_errno(ENOTDIR)) return std::string();
    return std::move(found).error().context("user: /", path);
  }
  struct ::stat st;
  struct ::statfs fs;
  if (::fstat(found->get(), &st) != 0 || ::fstatfs(found->get(), &fs) != 0) return failed(path);
  if (!S_ISREG(st.st_mode) || fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC) {
    return Error(Errc::invalid, cat("user: /", path, " in the image is not a regular file"));
  }
  if (st.st_size > static_cast<off_t>(kMaxUserDatabase)) {
    return Error(Errc::exhausted, cat("user: /", path, " in the image is larger than 1 MiB"));
  }
  // Opened through the descriptor that was checked: never a fifo or a device.
  UniqueFd fd = GANTRY_TRY(sys::open(cat("/proc/self/fd/", found->get()), O_RDONLY | O_NONBLOCK));
  return sys::read_all(fd.get(), kMaxUserDatabase);
}
}  // namespace

Result<Fields> user_job(const Job& job) {
  const Fields& request = job.request;
  GANTRY_TRY(limit({}));
  DirFd root = GANTRY_TRY(open_root(request));
  GANTRY_TRY(keep_capabilities(cap_bit(CAP_DAC_READ_SEARCH)));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  UserSpec user{std::string(request.get("user")), request.all("group")};
  std::string passwd = GANTRY_TRY(read_database(root, "etc/passwd"));
  std::string group = GANTRY_TRY(read_database(root, "etc/group"));
  Credentials found = GANTRY_TRY(resolve_user(passwd, group, user));
  Fields answer;
  answer.add_number("uid", found.uid);
  answer.add_number("gid", found.gid);
  answer.add("home", found.home);
  for (gid_t gid : found.groups) answer.add_number("gid.more", gid);
  return answer;
}

Result<Fields> volumes_job(const Job& job) {
  constexpr uint64_t kCopy = cap_bit(CAP_CHOWN) | cap_bit(CAP_DAC_OVERRIDE) | cap_bit(CAP_FOWNER) |
                             cap_bit(CAP_FSETID) | cap_bit(CAP_MKNOD) | cap_bit(CAP_SETFCAP);
  GANTRY_TRY(limit({.open_files = 8192}));
  DirFd root = GANTRY_TRY(open_root(job.request));
  GANTRY_TRY(leave_network());
  GANTRY_TRY(keep_capabilities(kCopy));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  std::vector<std::string> paths = job.request.all("path");
  if (paths.size() != job.fds.size()) return Error(Errc::corrupt, "volumes: fields do not match");
  for (size_t i = 0; i < paths.size(); ++i) {
    // KERNEL: an O_PATH descriptor is good for lookups only; metadata needs an open directory.
    UniqueFd target = GANTRY_TRY(sys::open_at(job.fds[i], ".", O_RDONLY | O_DIRECTORY));
    auto source = root.open_in_root(paths[i], O_RDONLY | O_DIRECTORY);
    if (source) {
      GANTRY_TRY(copy_layer(source->get(), target.get()).context(paths[i]));
    } else if (::fchmod(target.get(), 0755) != 0) {  // the image has no such directory
      return failed("chmod of a volume");
    }
  }
  return Fields();
}
}  // namespace gantry::worker
