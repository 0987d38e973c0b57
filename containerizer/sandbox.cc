#include "containerizer/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "base/directory.h"
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
constexpr size_t kMostSpare = 8;

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

namespace {
// Root's alone, so that nobody else can have put something in since it was looked at.
bool is_as_new(int dir) {
  struct ::stat status;
  if (::fstat(dir, &status) != 0 || status.st_uid != 0 || status.st_gid != 0 ||
      (status.st_mode & 07777) != 0700) {
    return false;
  }
  const auto names = names_in(dir, ".");
  return names && names->empty();
}
}  // namespace

Result<void> SpareSandboxes::take(const std::string& path, uid_t uid, gid_t gid) {
  if (uid != 0 || gid != 0 || paths_.empty()) return create_sandbox(path, uid, gid);
  const std::string spare = std::move(paths_.back());
  paths_.pop_back();
  const int rc = ::renameat2(AT_FDCWD, spare.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
  if (rc == 0) return {};
  ::rmdir(spare.c_str());
  return create_sandbox(path, uid, gid);
}

bool SpareSandboxes::give_back(const std::string& path) {
  if (paths_.size() >= kMostSpare) return false;
  auto dir = sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir) return false;
  auto listed = sys::duplicate(dir->get());
  if (listed) remove_few_files(std::move(*listed));
  if (!is_as_new(dir->get())) return false;
  std::string spare = cat(directory_, "/spare.", next_++);
  if (::rename(path.c_str(), spare.c_str()) != 0) return false;
  paths_.push_back(std::move(spare));
  return true;
}

void SpareSandboxes::close() {
  for (const std::string& path : std::exchange(paths_, {})) ::rmdir(path.c_str());
}

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
