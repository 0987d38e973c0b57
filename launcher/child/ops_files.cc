// Directories, nodes, links and files in the root.
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>

#include "launcher/child/child.h"
#include "launcher/child/path.h"
#include "launcher/child/raw.h"

namespace gantry::child {
namespace {
// uid << 32 | gid, as the ops carry it. -1 changes nothing.
int64_t set_owner(int fd, uint64_t owner) {
  if (owner == 0) return 0;  // what root makes is root's already
  return raw(SYS_fchownat, fd, "", owner >> 32, owner & 0xffffffffu, AT_EMPTY_PATH);
}
}  // namespace

Outcome make_directory(State& s, const Op& op) {
  bool made = false;
  RawFd fd(make_in_root(s.root, s.plan.text(op.s1), Make::kDirectory, static_cast<uint32_t>(op.a),
                        &made));
  if (!fd.ok()) return fail(fd.error(), Substep::kMake);
  struct stat st;
  int64_t rc = raw(SYS_newfstatat, fd.get(), "", &st, AT_EMPTY_PATH);
  if (rc < 0) return fail(rc, Substep::kTarget);
  if ((st.st_mode & S_IFMT) != S_IFDIR) return fail(ENOTDIR, Substep::kTarget);
  return made ? check(set_owner(fd.get(), op.b), Substep::kAttribute) : ok();
}

Outcome make_node(State& s, const Op& op) {
  char name[256];
  RawFd parent(open_parent(s, s.plan.text(op.s1), name, sizeof name));
  if (!parent.ok()) return fail(parent.error(), Substep::kTarget);
  int64_t rc = raw(SYS_mknodat, parent.get(), name, op.a, op.b);
  if (rc < 0 && rc != -EEXIST) return fail(rc, Substep::kMake);
  if (rc == 0 && op.c == 0) return ok();
  RawFd fd(raw(SYS_openat, parent.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
  if (!fd.ok()) return fail(fd.error(), Substep::kTarget);
  if (rc == 0) return check(set_owner(fd.get(), op.c), Substep::kAttribute);
  // Somebody's node is there: it must be the very same device.
  struct stat st;
  rc = raw(SYS_newfstatat, fd.get(), "", &st, AT_EMPTY_PATH);
  if (rc < 0) return fail(rc, Substep::kTarget);
  const bool is_same = (st.st_mode & S_IFMT) == (op.a & S_IFMT) && st.st_rdev == op.b;
  return is_same ? ok() : fail(EEXIST, Substep::kTarget);
}

Outcome symbolic_link(State& s, const Op& op) {
  char name[256];
  RawFd parent(open_parent(s, s.plan.text(op.s2), name, sizeof name));
  if (!parent.ok()) return fail(parent.error(), Substep::kTarget);
  const char* text = s.plan.text(op.s1);
  int64_t rc = raw(SYS_symlinkat, text, parent.get(), name);
  if (rc != -EEXIST) return check(rc, Substep::kMake);
  char now[PATH_MAX];
  rc = raw(SYS_readlinkat, parent.get(), name, now, sizeof now - 1);
  if (rc < 0) return fail(EEXIST, Substep::kTarget);
  now[rc] = '\0';
  return same(now, text) ? ok() : fail(EEXIST, Substep::kTarget);
}

Outcome write_file(State& s, const Op& op) {
  char name[256];
  RawFd parent(open_parent(s, s.plan.text(op.s1), name, sizeof name));
  if (!parent.ok()) return fail(parent.error(), Substep::kTarget);
  // SAFETY: always a new inode: nothing that is there is followed, truncated or written to, be it a
  // link into another tree or a hard link into an image's layer.
  static constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int64_t opened = raw(SYS_openat, parent.get(), name, kFlags, 0644);
  if (opened == -EEXIST) {
    int64_t rc = raw(SYS_unlinkat, parent.get(), name, 0);
    if (rc < 0 && rc != -ENOENT) return fail(rc, Substep::kTarget);
    opened = raw(SYS_openat, parent.get(), name, kFlags, 0644);
  }
  RawFd fd(opened);
  if (!fd.ok()) return fail(fd.error(), Substep::kMake);
  const char* bytes = s.plan.text(op.s2);
  for (uint64_t done = 0; done < op.b;) {
    int64_t n = raw(SYS_write, fd.get(), bytes + done, op.b - done);
    if (n <= 0) return fail(n == 0 ? EIO : n);
    done += static_cast<uint64_t>(n);
  }
  return ok();
}
}  // namespace gantry::child
