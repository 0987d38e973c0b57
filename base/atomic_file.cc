#include "base/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>

#include "base/sys.h"

namespace gantry {
Result<void> write_file_atomically(int dir_fd, std::string_view name, std::string_view bytes,
                                   Durability durability, mode_t mode) {
  static std::atomic<uint64_t> counter{0};
  std::string temporary = cat(".tmp.", ::getpid(), ".", counter.fetch_add(1), ".", name);
  std::string target(name);
  auto written = [&]() -> Result<void> {
    UniqueFd fd = GANTRY_TRY(
        sys::open_at(dir_fd, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    GANTRY_TRY(sys::write_all(fd.get(), bytes));
    if (durability == Durability::disk && ::fsync(fd.get()) != 0) {
      return Error::from_errno(errno, cat("fsync ", temporary));
    }
    if (::renameat(dir_fd, temporary.c_str(), dir_fd, target.c_str()) != 0) {
      return Error::from_errno(errno, cat("rename ", temporary));
    }
    return {};
  }();
  if (!written) {
    ::unlinkat(dir_fd, temporary.c_str(), 0);
    return std::move(written).error().context("write ", name);
  }
  if (durability == Durability::disk) {
    // O_PATH descriptors cannot be fsynced: reopen the directory.
    UniqueFd dir = GANTRY_TRY(sys::open_at(dir_fd, ".", O_RDONLY | O_DIRECTORY));
    if (::fsync(dir.get()) != 0) return Error::from_errno(errno, "fsync the directory");
  }
  return {};
}

Result<void> remove_temporaries(int dir_fd) {
  UniqueFd fd = GANTRY_TRY(sys::open_at(dir_fd, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), &::closedir);
  if (!dir) return Error::from_errno(errno, "read a directory");
  (void)fd.release();  // closedir closes it
  while (dirent* entry = ::readdir(dir.get())) {
    if (std::string_view(entry->d_name).starts_with(".tmp.")) {
      ::unlinkat(::dirfd(dir.get()), entry->d_name, 0);
    }
  }
  return {};
}
}  // namespace gantry
