#include "base/directory.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>

#include "base/sys.h"

namespace gantry {
Result<const dirent*> next_entry(DIR* directory) {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr && errno != 0) return Error::from_errno(errno, "read a directory");
    if (entry == nullptr) return nullptr;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return entry;
  }
}

Result<std::vector<std::string>> names_in(int dir_fd, const char* path) {
  UniqueFd fd = GANTRY_TRY(sys::open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd.get()), &::closedir);
  if (!directory) return Error::from_errno(errno, cat("read ", path));
  (void)fd.release();  // closedir closes it
  std::vector<std::string> names;
  for (;;) {
    const dirent* entry = GANTRY_TRY(next_entry(directory.get()).context(path));
    if (entry == nullptr) return names;
    names.emplace_back(entry->d_name);
  }
}
}  // namespace gantry
