#include "base/path_at.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <vector>

#include "base/sys.h"

namespace gantry {
namespace {
Result<UniqueFd> open_resolved(int dir_fd, std::string_view path, int flags, mode_t mode,
                               uint64_t resolve) {
  std::string copy(path.empty() ? "." : path);
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = resolve;
  // KERNEL: a rename or mount racing with a RESOLVE_BENEATH/IN_ROOT walk answers EAGAIN
  // (openat2(2)).
  for (int attempt = 0; attempt < 128; ++attempt) {
    long fd = ::syscall(SYS_openat2, dir_fd, copy.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return Error::from_errno(errno, cat("open ", path));
}

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
}  // namespace

Result<DirFd> DirFd::open(const std::string& absolute_path) {
  return DirFd(GANTRY_TRY(sys::open(absolute_path, O_PATH | O_DIRECTORY)));
}

Result<UniqueFd> DirFd::open_beneath(std::string_view path, int flags, mode_t mode) const {
  return open_resolved(get(), path, flags, mode,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}
Result<UniqueFd> DirFd::open_in_root(std::string_view path, int flags, mode_t mode) const {
  return open_resolved(get(), path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

Result<void> remove_tree_at(int dir_fd, std::string_view name) {
  std::string top(name);
  if (::unlinkat(dir_fd, top.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Error::from_errno(errno, cat("remove ", name));

  struct Level {
    Dir dir;
    std::string name;
  };
  auto enter = [](int parent, const std::string& child) -> Result<Level> {
    UniqueFd fd = GANTRY_TRY(open_resolved(parent, child, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                                           RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS));
    Dir dir(::fdopendir(fd.get()), &::closedir);
    if (!dir) return Error::from_errno(errno, cat("read ", child));
    (void)fd.release();
    return Level{std::move(dir), child};
  };
  std::vector<Level> levels;
  levels.push_back(GANTRY_TRY(enter(dir_fd, top)));
  while (!levels.empty()) {
    DIR* dir = levels.back().dir.get();
    dirent* entry = ::readdir(dir);
    if (entry == nullptr) {
      int parent = levels.size() > 1 ? ::dirfd(levels[levels.size() - 2].dir.get()) : dir_fd;
      if (::unlinkat(parent, levels.back().name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return Error::from_errno(errno, cat("remove ", levels.back().name));
      }
      levels.pop_back();
      continue;
    }
    std::string_view child = entry->d_name;
    if (child == "." || child == "..") continue;
    if (::unlinkat(::dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) return Error::from_errno(errno, cat("remove ", child));
    if (levels.size() > 4000) return Error(Errc::exhausted, "directories nest deeper than 4000");
    levels.push_back(GANTRY_TRY(enter(::dirfd(dir), std::string(child))));
  }
  return {};
}
}  // namespace gantry
