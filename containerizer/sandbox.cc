#include "containerizer/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>

#include "base/path_at.h"
#include "base/sys.h"
#include "fetcher/tree_jobs.h"

namespace gantry {
Result<void> create_sandbox(const std::string& path, uid_t uid, gid_t gid) {
  GANTRY_TRY(sys::mkdir_at(AT_FDCWD, path.c_str(), 0700));
  if ((uid != 0 || gid != 0) && ::lchown(path.c_str(), uid, gid) != 0) {
    return Error::from_errno(errno, cat("give ", path, " to the user of the command"));
  }
  return {};
}

namespace {
// Mostly there are just the logger's files: no process is needed for that, nor room for one.
void remove_few_files(UniqueFd fd) {
  constexpr int kFew = 16;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), &::closedir);
  if (!dir) return;
  (void)fd.release();
  for (int looks = 0; looks < kFew; ++looks) {
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) return;
    if (entry->d_type == DT_REG) ::unlinkat(::dirfd(dir.get()), entry->d_name, 0);
  }
}
}  // namespace

Co<Result<void>> remove_sandbox(WorkerClient& worker, std::string path) {
  size_t slash = path.rfind('/');
  std::string parent = path.substr(0, slash), name = path.substr(slash + 1);
  DirFd base = GANTRY_CO_TRY(DirFd::open(parent));
  auto dir = base.open_beneath(name, O_RDONLY | O_DIRECTORY);
  if (!dir && dir.error().is_errno(ENOENT)) co_return Result<void>();
  if (dir) {
    remove_few_files(std::move(*dir));
    if (::unlinkat(base.get(), name.c_str(), AT_REMOVEDIR) == 0) co_return Result<void>();
  }
  co_return co_await remove_tree(worker, parent, name);
}
}  // namespace gantry
