#include "containerizer/room.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/sys.h"

namespace gantry {
namespace {
constexpr uint64_t kLeastBytes = 512u << 10;
constexpr uint64_t kLeastInodes = 32;
// What ends, reports and removes containers, and the launches at work.
constexpr size_t kSpareDescriptors = 96;
// Two pipes, two files and their index.
constexpr size_t kLoggerDescriptors = 5;

size_t count_descriptors() {
  struct ::stat st;
  // KERNEL: since 6.2 the size of this directory is the number of open descriptors; before it is 0.
  if (::stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return static_cast<size_t>(st.st_size);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), &::closedir);
  if (!dir) return descriptor_limit();
  size_t count = 0;
  while (::readdir(dir.get()) != nullptr) ++count;
  return count;
}

// The lowest free number: with fewer descriptors than that there is no need to count.
bool is_plenty(size_t limit) {
  const UniqueFd lowest(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
  return lowest && static_cast<size_t>(lowest.get()) < limit / 4;
}
}  // namespace

size_t descriptor_limit() {
  rlimit files;
  return ::getrlimit(RLIMIT_NOFILE, &files) == 0 ? static_cast<size_t>(files.rlim_cur) : 1024;
}

Result<void> require_disk(const std::string& directory, const std::string& remedy) {
  struct ::statfs fs;
  if (::statfs(directory.c_str(), &fs) != 0) {
    return Error::from_errno(errno, cat("look for room in ", directory));
  }
  const uint64_t block = static_cast<uint64_t>(fs.f_bsize);
  const uint64_t bytes = fs.f_bavail * block;
  // A file system without a fixed number of blocks or inodes says 0 of 0.
  const bool lacks_bytes = fs.f_blocks > 0 && bytes < kLeastBytes;
  const bool lacks_inodes = fs.f_files > 0 && fs.f_ffree < kLeastInodes;
  if (!lacks_bytes && !lacks_inodes) return {};
  const std::string left =
      lacks_bytes ? cat(bytes >> 10, " KiB of ", (fs.f_blocks * block) >> 10, " KiB are")
                  : cat(fs.f_ffree, " of ", fs.f_files, " inodes are");
  return Error(Errc::exhausted, cat("no room in ", directory, ": ", left, " free; ", remedy));
}

Result<void> require_descriptors(const std::function<size_t()>& running) {
  const size_t limit = descriptor_limit();
  if (is_plenty(limit)) return {};
  const size_t used = std::max(count_descriptors(), running() * kLoggerDescriptors);
  if (used + kSpareDescriptors <= limit) return {};
  return Error(Errc::exhausted,
               cat("no descriptors: ", used, " of ", limit,
                   " are in use, and what ends containers needs the rest; end containers or "
                   "connections, or raise the hard limit of open files (LimitNOFILE= of a systemd "
                   "unit)"));
}
}  // namespace gantry
