// Paths below a directory we hold, resolved by the kernel and never twice (docs/adr/0006).
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// A directory by descriptor (O_PATH). Every lookup starts there.
class DirFd {
 public:
  explicit DirFd(UniqueFd fd) : fd_(std::move(fd)) {}
  static Result<DirFd> open(const std::string& absolute_path);
  int get() const { return fd_.get(); }

  // For trees of ours: no symlink is followed, nothing above is reachable, no mount is crossed
  // (openat2 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV).
  Result<UniqueFd> open_beneath(std::string_view path, int flags, mode_t mode = 0) const;
  // For trees of a tenant (root filesystems): symlinks, absolute ones too, stay inside
  // (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS). Refuses `..` in nothing: it cannot escape.
  Result<UniqueFd> open_in_root(std::string_view path, int flags, mode_t mode = 0) const;

 private:
  UniqueFd fd_;
};

// Removes `name` below dir_fd with all that is in it: iterative, never follows a link, never
// crosses a mount. Missing is success. For trees of ours on local disk (tenants' trees are
// removed by gantry-worker).
Result<void> remove_tree_at(int dir_fd, std::string_view name);
}  // namespace gantry
