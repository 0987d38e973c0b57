#include "containerizer/sandbox.h"

#include <fcntl.h>
#include <unistd.h>

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

Co<Result<void>> remove_sandbox(WorkerClient& worker, std::string path) {
  size_t slash = path.rfind('/');
  std::string parent = path.substr(0, slash), name = path.substr(slash + 1);
  DirFd base = GANTRY_CO_TRY(DirFd::open(parent));
  // Mostly there are just the logger's two files: no process is needed for that.
  auto dir = base.open_beneath(name, O_PATH | O_DIRECTORY);
  if (!dir && dir.error().is_errno(ENOENT)) co_return Result<void>();
  if (dir) {
    ::unlinkat(dir->get(), "stdout", 0);
    ::unlinkat(dir->get(), "stderr", 0);
    if (::unlinkat(base.get(), name.c_str(), AT_REMOVEDIR) == 0) co_return Result<void>();
  }
  co_return co_await remove_tree(worker, parent, name);
}
}  // namespace gantry
