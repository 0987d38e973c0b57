#include "executor/claims.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/atomic_file.h"
#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "executor/process.h"
#include "launcher/protocol.h"

namespace gantry {
namespace {
// An executor or a launcher that is ending may hold what it had for a moment longer.
constexpr int kLooks = 20;
constexpr std::chrono::milliseconds kBetweenLooks(50);

bool is_same_directory(const std::string& a, const std::string& b) {
  auto one = sys::stat_at(AT_FDCWD, a.c_str()), other = sys::stat_at(AT_FDCWD, b.c_str());
  return a == b || (one && other && one->st_ino == other->st_ino && one->st_dev == other->st_dev);
}

bool launcher_lives(const std::string& runtime_dir) {
  auto fd = sys::open(cat(runtime_dir, "/", kLauncherLock), O_RDWR | O_NOFOLLOW);
  return fd && lock_holder(fd->get()) != 0;
}

// What a gantry-launcher was told; empty for any other process.
std::string runtime_dir_of(pid_t pid) {
  const std::string line = sys::read_file(cat("/proc/", pid, "/cmdline"), 1u << 16).value_or("");
  const std::vector<std::string_view> words = split(line, '\0');
  const auto flag = std::find(words.begin(), words.end(), "--runtime-dir");
  return flag == words.end() || flag + 1 == words.end() ? "" : std::string(flag[1]);
}

// The other runtime directory; empty: none.
std::string owner_of_cgroups(const CgroupLayout& layout, const std::string& cgroup_root,
                             const std::string& runtime_dir) {
  for (const CgroupHierarchy& hierarchy : layout.hierarchies()) {
    const std::string file = cat(hierarchy.path, cgroup_root, "/launcher/cgroup.procs");
    for (pid_t pid : parse_pids(sys::read_file(file).value_or(""))) {
      std::string owner = runtime_dir_of(pid);
      if (!owner.empty() && !is_same_directory(owner, runtime_dir)) return owner;
    }
  }
  return {};
}

Error taken(std::string_view what, const std::string& owner, std::string_view flag,
            std::string_view variable) {
  return {Errc::busy,
          cat(what, " belongs to the executor of ", owner,
              ", whose containers another one would end: give ", flag, " (or ", variable,
              ") one of its own, or end that executor first: gantry "
              "--runtime-dir ",
              owner, " executor stop")};
}

Error data_dir_taken(const std::string& data_dir, const std::string& owner) {
  return taken(cat("data directory ", data_dir), owner, "--data-dir", "GANTRY_DATA_DIR");
}

// An executor's restart may name another directory while containers of the first one run.
Result<void> check_same_data(const std::string& data_dir, const std::string& runtime_dir) {
  const std::string note = cat(runtime_dir, "/data");
  const std::string before = sys::read_file(note).value_or("");
  if (before.empty() || is_same_directory(before, data_dir) || !launcher_lives(runtime_dir)) {
    return {};
  }
  return Error(Errc::busy, cat("the containers of ", runtime_dir, " have their data in ", before,
                               ": give --data-dir ", before,
                               " (or GANTRY_DATA_DIR), or end them "
                               "first: gantry executor stop"));
}

Result<void> lock_data_dir(int fd, const std::string& data_dir) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  for (int look = 0; ::fcntl(fd, F_SETLK, &lock) != 0; ++look) {
    if (errno != EAGAIN && errno != EACCES) return Error::from_errno(errno, cat("lock ", data_dir));
    const pid_t holder = lock_holder(fd);
    if (look == kLooks && holder != 0 && is_dead(holder)) {
      discard_lock(fd, data_dir + "/lock");
      return Error(Errc::not_found, cat("the lock of ", data_dir, " was a dead executor's"));
    }
    if (look == kLooks) return data_dir_taken(data_dir, sys::read_all(fd).value_or("?"));
    // lint: allow sleep, because there is no loop yet
    std::this_thread::sleep_for(kBetweenLooks);
  }
  return {};
}
}  // namespace

Result<void> check_cgroup_root(const std::string& cgroup_root, const std::string& runtime_dir) {
  const CgroupLayout layout = GANTRY_TRY(CgroupLayout::detect());
  for (int look = 0;; ++look) {
    const std::string owner = owner_of_cgroups(layout, cgroup_root, runtime_dir);
    if (owner.empty()) return {};
    if (look == kLooks) {
      return taken(cat("cgroup ", cgroup_root), owner, "--cgroup-root", "GANTRY_CGROUP_ROOT");
    }
    // lint: allow sleep, because there is no loop yet
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

Result<UniqueFd> claim_data_dir(const std::string& data_dir, const std::string& runtime_dir) {
  GANTRY_TRY(check_same_data(data_dir, runtime_dir));
  const std::string path = cat(data_dir, "/lock");
  UniqueFd fd = GANTRY_TRY(sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  auto locked = lock_data_dir(fd.get(), data_dir);
  if (!locked && locked.error().is(Errc::not_found)) {
    fd = GANTRY_TRY(sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    locked = lock_data_dir(fd.get(), data_dir);
  }
  GANTRY_TRY(std::move(locked));
  const std::string owner = GANTRY_TRY(sys::read_all(fd.get()).context(path));
  if (!owner.empty() && !is_same_directory(owner, runtime_dir) && launcher_lives(owner)) {
    return data_dir_taken(data_dir, owner);
  }
  const std::string note = cat(runtime_dir, "/data");
  // A full disk has no room to write the same again.
  if (sys::read_file(note).value_or("") != data_dir) {
    const UniqueFd dir = GANTRY_TRY(sys::open(runtime_dir, O_RDONLY | O_DIRECTORY));
    write_file_atomically(dir.get(), "data", data_dir, Durability::memory)
        .ignore("no room: then a later executor is not warned");
  }
  if (owner == runtime_dir) return fd;
  if (::ftruncate(fd.get(), 0) != 0 || ::lseek(fd.get(), 0, SEEK_SET) != 0) {
    return Error::from_errno(errno, cat("write ", path));
  }
  GANTRY_TRY(sys::write_all(fd.get(), runtime_dir).context(path));
  return fd;
}
}  // namespace gantry
