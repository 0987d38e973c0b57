#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <optional>

#include "base/path_at.h"
#include "base/sys.h"
#include "fetcher/worker/layer_view.h"
#include "fetcher/worker/tree.h"

namespace gantry::worker {
namespace {
using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
constexpr size_t kMaxDepth = 2000;  // two descriptors a level

Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

Result<void> copy_range(int from, int to, off_t offset, off_t end) {
  bool use_copy_file_range = true;
  std::string buffer;
  while (offset < end) {
    ssize_t n = -1;
    if (use_copy_file_range) {
      off_t in = offset, out = offset;
      n = ::copy_file_range(from, &in, to, &out, static_cast<size_t>(end - offset), 0);
      // KERNEL: across file systems EXDEV, on some of them EINVAL or EOPNOTSUPP.
      if (n < 0) use_copy_file_range = false;
    }
    if (n < 0) {
      buffer.resize(1u << 20);
      size_t want = std::min(buffer.size(), static_cast<size_t>(end - offset));
      n = ::pread(from, buffer.data(), want, offset);
      if (n > 0 && ::pwrite(to, buffer.data(), static_cast<size_t>(n), offset) != n) {
        return failed("write a copy");
      }
    }
    if (n < 0) return failed("read what is copied");
    if (n == 0) return {};
    offset += n;
  }
  return {};
}

class LayerCopier {
 public:
  LayerCopier(int layer, int target) : layer_(layer), target_(target) {}
  Result<void> run();

 private:
  struct Level {
    Dir from;
    UniqueFd to;
    std::string path;
    struct ::stat st;
  };
  Result<Level> open_level(int from, const char* name, int to, std::string path);
  Result<std::optional<Level>> copy_entry(const Level& level, const char* name);
  Result<void> copy_node(const Level& level, const char* name, const struct ::stat& st);
  Result<void> copy_file(const Level& level, const char* name, const struct ::stat& st);
  Result<void> set_metadata(int from, int to, const struct ::stat& st);

  int layer_, target_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // several names in the layer
};

Result<void> LayerCopier::set_metadata(int from, int to, const struct ::stat& st) {
  if (::fchown(to, st.st_uid, st.st_gid) != 0) return failed("chown");
  if (::fchmod(to, st.st_mode & 07777) != 0) return failed("chmod");
  for (const auto& [name, value] : GANTRY_TRY(read_xattrs(from))) {
    if (::fsetxattr(to, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == EOPNOTSUPP && name.starts_with("user.")) continue;
    return failed(cat("set the attribute ", name));
  }
  return {};
}

Result<LayerCopier::Level> LayerCopier::open_level(int from, const char* name, int to,
                                                   std::string path) {
  UniqueFd in = GANTRY_TRY(sys::open_at(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Level level{Dir(nullptr, &::closedir), {}, std::move(path), {}};
  level.to = GANTRY_TRY(sys::open_at(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fstat(in.get(), &level.st) != 0) return failed("stat");
  if (is_opaque(in.get())) GANTRY_TRY(empty_directory(level.to.get()));
  GANTRY_TRY(set_metadata(in.get(), level.to.get(), level.st));
  level.from.reset(::fdopendir(in.get()));
  if (!level.from) return failed("read a directory");
  (void)in.release();
  return level;
}

Result<void> LayerCopier::copy_file(const Level& level, const char* name, const struct ::stat& st) {
  if (st.st_nlink > 1) {
    auto [it, is_first] = linked_.emplace(std::pair(st.st_dev, st.st_ino), level.path + name);
    if (!is_first) {
      DirFd root(GANTRY_TRY(sys::duplicate(target_)));
      size_t slash = it->second.rfind('/');
      std::string parent = slash == std::string::npos ? "" : it->second.substr(0, slash);
      std::string base = slash == std::string::npos ? it->second : it->second.substr(slash + 1);
      UniqueFd there = GANTRY_TRY(root.open_beneath(parent, O_PATH | O_DIRECTORY));
      if (::linkat(there.get(), base.c_str(), level.to.get(), name, 0) != 0) return failed("link");
      return {};
    }
  }
  UniqueFd in = GANTRY_TRY(sys::open_at(::dirfd(level.from.get()), name, O_RDONLY | O_NOFOLLOW));
  UniqueFd out = GANTRY_TRY(
      sys::open_at(level.to.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  GANTRY_TRY(copy_contents(in.get(), out.get(), st.st_size));
  GANTRY_TRY(set_metadata(in.get(), out.get(), st));
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (::futimens(out.get(), times) != 0) return failed("set the time");
  return {};
}

Result<void> LayerCopier::copy_node(const Level& level, const char* name, const struct ::stat& st) {
  int to = level.to.get();
  if (S_ISLNK(st.st_mode)) {
    std::string target(static_cast<size_t>(st.st_size) + 1, '\0');
    ssize_t size = ::readlinkat(::dirfd(level.from.get()), name, target.data(), target.size());
    if (size < 0) return failed("read a link");
    target.resize(static_cast<size_t>(size));
    if (::symlinkat(target.c_str(), to, name) != 0) return failed("make a symbolic link");
  } else if (S_ISSOCK(st.st_mode)) {
    return {};
  } else if (::mknodat(to, name, (st.st_mode & S_IFMT) | 0600, st.st_rdev) != 0) {
    return failed("make a node");
  }
  if (::fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return failed("chown");
  // SAFETY: only on the node just made; fchmodat would follow a link.
  if (!S_ISLNK(st.st_mode) && ::fchmodat(to, name, st.st_mode & 07777, 0) != 0) {
    return failed("chmod");
  }
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (::utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) != 0) return failed("set the time");
  return {};
}

// A directory comes back as the next level to walk.
Result<std::optional<LayerCopier::Level>> LayerCopier::copy_entry(const Level& level,
                                                                  const char* name) {
  int from = ::dirfd(level.from.get()), to = level.to.get();
  struct ::stat st = GANTRY_TRY(sys::stat_at(from, name, AT_SYMLINK_NOFOLLOW));
  if (S_ISDIR(st.st_mode)) {
    struct ::stat there;
    bool exists = ::fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && !S_ISDIR(there.st_mode)) GANTRY_TRY(remove_tree(to, name));
    if (!exists || !S_ISDIR(there.st_mode)) GANTRY_TRY(sys::mkdir_at(to, name, 0700));
    return std::optional(GANTRY_TRY(open_level(from, name, to, cat(level.path, name, "/"))));
  }
  GANTRY_TRY(remove_tree(to, name));
  if (is_whiteout(st)) return std::optional<Level>();
  GANTRY_TRY(S_ISREG(st.st_mode) ? copy_file(level, name, st) : copy_node(level, name, st));
  return std::optional<Level>();
}

Result<void> LayerCopier::run() {
  std::vector<Level> levels;
  levels.push_back(GANTRY_TRY(open_level(layer_, ".", target_, "")));
  while (!levels.empty()) {
    dirent* entry = ::readdir(levels.back().from.get());
    if (entry == nullptr) {
      const timespec times[2] = {levels.back().st.st_atim, levels.back().st.st_mtim};
      if (::futimens(levels.back().to.get(), times) != 0) return failed("set the time");
      levels.pop_back();
      continue;
    }
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (levels.size() >= kMaxDepth) {
      return Error(Errc::exhausted, cat("directories nest deeper than ", kMaxDepth));
    }
    auto deeper =
        GANTRY_TRY(copy_entry(levels.back(), entry->d_name).context("/", levels.back().path, name));
    if (deeper) levels.push_back(std::move(*deeper));
  }
  return {};
}
}  // namespace

bool is_wanted_xattr(std::string_view name) {
  if (name.starts_with("user.")) return !name.starts_with("user.overlay.");
  return name == "security.capability" || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

Result<std::vector<std::pair<std::string, std::string>>> read_xattrs(int fd) {
  std::vector<std::pair<std::string, std::string>> out;
  ssize_t size = ::flistxattr(fd, nullptr, 0);
  if (size <= 0) return out;
  std::string names(static_cast<size_t>(size), '\0');
  size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0) return failed("list attributes");
  names.resize(static_cast<size_t>(size));
  for (size_t at = 0; at < names.size(); at += std::string(names.c_str() + at).size() + 1) {
    std::string name(names.c_str() + at);
    if (!is_wanted_xattr(name)) continue;
    std::string value(64u << 10, '\0');
    ssize_t length = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (length < 0) return failed(cat("read the attribute ", name));
    value.resize(static_cast<size_t>(length));
    out.emplace_back(std::move(name), std::move(value));
  }
  return out;
}

Result<void> copy_contents(int from, int to, int64_t size) {
  if (::ioctl(to, FICLONE, from) == 0) return {};
  off_t at = 0;
  while (at < size) {
    off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) data = at;
    off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) hole = size;
    GANTRY_TRY(copy_range(from, to, data, hole));
    at = hole;
  }
  if (::ftruncate(to, size) != 0) return failed("set the size");
  return {};
}

Result<void> copy_layer(int layer, int target) { return LayerCopier(layer, target).run(); }
}  // namespace gantry::worker
