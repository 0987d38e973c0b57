#include "fetcher/worker/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <set>

#include "base/sys.h"

namespace gantry::worker {
namespace {
using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
// Deeper directories are moved up to the top of the tree that is being removed.
constexpr size_t kMaxRemoveDepth = 100;
constexpr size_t kMaxMeasureDepth = 4000;
constexpr size_t kMaxShownPath = 400;

Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

Result<Dir> enter(int parent, const char* name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, parent, name, &how, sizeof how)));
  if (!fd) {
    if (errno == EXDEV) return Error(Errc::busy, cat("a file system is mounted on ", name));
    return failed(cat("open ", name));
  }
  Dir dir(::fdopendir(fd.get()), &::closedir);
  if (!dir) return failed(cat("read ", name));
  (void)fd.release();
  return dir;
}

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

// Gone (true), or a directory that must be emptied first (false).
Result<bool> unlink_simple(int parent, const char* name) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return true;
  if (errno == EISDIR || errno == EPERM) {
    int error = errno;
    struct ::stat st;
    if (::fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) return false;
    return Error::from_errno(error, cat("remove ", name, " (is it immutable? `lsattr`)"));
  }
  if (errno == EBUSY) return Error(Errc::busy, cat("something is mounted on ", name));
  return failed(cat("remove ", name));
}

// What cannot go is passed over: the rest goes, and the first failure is told, with their number.
class Remover {
 public:
  explicit Remover(Dir top) : top_(std::move(top)) {}
  Result<void> run() {
    do {
      hoisted_ = false;
      ::rewinddir(top_.get());
      pass();
    } while (hoisted_);
    if (!first_) return {};
    return std::move(*first_).context(left_, left_ == 1 ? " entry stays" : " entries stay");
  }

 private:
  struct Level {
    Dir dir;
    std::string name;
  };
  int current() const { return ::dirfd(levels_.empty() ? top_.get() : levels_.back().dir.get()); }

  void pass() {
    left_ = 0;
    for (;;) {
      dirent* entry = ::readdir(levels_.empty() ? top_.get() : levels_.back().dir.get());
      if (entry == nullptr) {
        if (levels_.empty()) return;
        leave();
        continue;
      }
      if (is_dot(entry->d_name)) continue;
      const std::string name = entry->d_name;
      Result<bool> gone = unlink_simple(current(), name.c_str());
      if (gone && !*gone) {
        Result<void> entered = descend(name);
        if (!entered) gone = std::move(entered).error();
      }
      if (!gone) pass_over(std::move(gone).error());
    }
  }
  void pass_over(Error error) {
    ++left_;
    if (first_) return;
    std::string path;
    for (const Level& level : levels_) path += cat(level.name, "/");
    first_ = path.empty() || path.size() > kMaxShownPath ? std::move(error)
                                                         : std::move(error).context("in ", path);
  }
  Result<void> descend(const std::string& name) {
    if (levels_.size() < kMaxRemoveDepth) {
      Dir dir = GANTRY_TRY(enter(current(), name.c_str()));
      levels_.push_back({std::move(dir), name});
      return {};
    }
    for (;;) {
      std::string up = cat(".deep.", counter_++);
      if (::renameat2(current(), name.c_str(), ::dirfd(top_.get()), up.c_str(), RENAME_NOREPLACE) ==
          0) {
        hoisted_ = true;
        return {};
      }
      if (errno != EEXIST) return failed(cat("move ", name, " up"));
    }
  }
  void leave() {
    std::string name = std::move(levels_.back().name);
    levels_.pop_back();
    if (::unlinkat(current(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return;
    // It holds what was passed over, or somebody still writes into it.
    if (errno == ENOTEMPTY && left_ > 0) return;
    pass_over(errno == EBUSY ? Error(Errc::busy, cat("something is mounted on ", name))
                             : failed(cat("remove directory ", name)));
  }

  Dir top_;
  std::vector<Level> levels_;
  bool hoisted_ = false;
  uint64_t counter_ = 0;
  std::optional<Error> first_;
  size_t left_ = 0;  // of the last pass
};
}  // namespace

Result<void> empty_directory(int directory) {
  Dir dir = GANTRY_TRY(enter(directory, "."));
  return Remover(std::move(dir)).run();
}

Result<void> remove_tree(int parent, const std::string& name) {
  if (GANTRY_TRY(unlink_simple(parent, name.c_str()))) return {};
  Dir dir = GANTRY_TRY(enter(parent, name.c_str()));
  GANTRY_TRY(Remover(std::move(dir)).run());
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    if (errno == EBUSY) return Error(Errc::busy, cat("something is mounted on ", name));
    return failed(cat("remove directory ", name));
  }
  return {};
}

Result<TreeSize> measure_tree(int parent, const std::string& name) {
  TreeSize out;
  std::set<std::pair<dev_t, ino_t>> linked;
  auto count = [&](const struct ::stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !linked.emplace(st.st_dev, st.st_ino).second) {
      return;
    }
    out.bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    ++out.inodes;
  };
  struct ::stat st = GANTRY_TRY(sys::stat_at(parent, name.c_str(), AT_SYMLINK_NOFOLLOW));
  count(st);
  if (!S_ISDIR(st.st_mode)) return out;
  std::vector<Dir> levels;
  levels.push_back(GANTRY_TRY(enter(parent, name.c_str())));
  while (!levels.empty()) {
    int current = ::dirfd(levels.back().get());
    dirent* entry = ::readdir(levels.back().get());
    if (entry == nullptr) {
      levels.pop_back();
      continue;
    }
    if (is_dot(entry->d_name)) continue;
    // The tree may be in use: what vanishes meanwhile is not counted.
    if (::fstatat(current, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    count(st);
    if (!S_ISDIR(st.st_mode)) continue;
    if (levels.size() >= kMaxMeasureDepth) {
      return Error(Errc::exhausted, cat("directories nest deeper than ", kMaxMeasureDepth));
    }
    auto dir = enter(current, entry->d_name);
    if (dir) levels.push_back(std::move(*dir));
  }
  return out;
}
}  // namespace gantry::worker
