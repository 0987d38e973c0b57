// The root of the container: where it comes from, and making it "/".
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#include "launcher/child/child.h"
#include "launcher/child/path.h"
#include "launcher/child/raw.h"

#define GANTRY_CHILD_AT_RECURSIVE 0x8000

namespace gantry::child {
namespace {
constexpr int kMoveEmpty = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

Outcome attach(int64_t tree, int target) {
  return check(raw(SYS_move_mount, tree, "", target, "", kMoveEmpty), Substep::kAttach);
}
}  // namespace

Outcome propagation(State& s, const Op& op) {
  const char* path = s.plan.text(op.s1);
  if (s.root < 0) return check(raw(SYS_mount, nullptr, path, nullptr, op.a, nullptr));
  RawFd fd(open_in_root(s.root, path, O_PATH));
  if (!fd.ok()) return fail(fd.error(), Substep::kTarget);
  mount_attr attr{};
  attr.propagation = op.a & ~static_cast<uint64_t>(MS_REC);
  const int recursive = (op.a & MS_REC) != 0 ? GANTRY_CHILD_AT_RECURSIVE : 0;
  return check(raw(SYS_mount_setattr, fd.get(), "", AT_EMPTY_PATH | recursive, &attr, sizeof attr),
               Substep::kAttribute);
}

Outcome root_bind(State& s, const Op& op) {
  forget_parent(s);
  const int recursive = op.a != 0 ? GANTRY_CHILD_AT_RECURSIVE : 0;
  // A descriptor that came with the launch is a detached tree already: it only needs a place.
  if (op.fd >= 0) {
    RawFd place(raw(SYS_openat, AT_FDCWD, op.s1 != 0 ? s.plan.text(op.s1) : "/",
                    O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    if (!place.ok()) return fail(place.error(), Substep::kSource);
    s.root = s.fds[op.fd];
    return attach(s.root, place.get());
  }
  RawFd source(raw(SYS_openat, AT_FDCWD, s.plan.text(op.s1), O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  if (!source.ok()) return fail(source.error(), Substep::kSource);
  int64_t tree = raw(SYS_open_tree, source.get(), "",
                     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);
  if (tree < 0) return fail(tree, Substep::kMount);
  // The tree's descriptor goes on naming the mount once it is attached: it is the root from here.
  s.root = static_cast<int>(tree);
  return attach(tree, source.get());
}

namespace {
int64_t option(int context, const char* name, const char* value) {
  return raw(SYS_fsconfig, context, FSCONFIG_SET_STRING, name, value, 0);
}

// The old interface, for kernels without `lowerdir+` (< 6.7): everything in one page.
Outcome overlay_by_options(State& s, const Op& op, const char* place_path) {
  char text[4096];
  size_t used = 0;
  bool fits = true;
  auto put = [&](const char* piece, bool escape) {
    for (; *piece != '\0'; ++piece) {
      const bool special = escape && (*piece == ':' || *piece == ',' || *piece == '\\');
      if (used + 3 > sizeof text) {
        fits = false;
        return;
      }
      if (special) text[used++] = '\\';
      text[used++] = *piece;
    }
    text[used] = '\0';
  };
  put("lowerdir=", false);
  const char* lower = s.plan.text(op.s1);
  for (bool first = true; *lower != '\0'; lower += length(lower) + 1, first = false) {
    if (!first) put(":", false);
    put(lower, true);
  }
  if (op.s2 != 0) {
    put(",upperdir=", false);
    put(s.plan.text(op.s2), true);
    put(",workdir=", false);
    put(s.plan.text(op.s3), true);
  }
  if ((op.a & kOverlayVolatile) != 0) put(",volatile", false);
  if ((op.a & kOverlayUserXattr) != 0) put(",userxattr", false);
  if (!fits) return fail(ENAMETOOLONG, Substep::kOption);
  int64_t rc = raw(SYS_mount, "overlay", place_path, "overlay", 0, text);
  if (rc < 0) return fail(rc, Substep::kMount);
  int64_t root = raw(SYS_openat, AT_FDCWD, place_path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (root < 0) return fail(root, Substep::kTarget);
  s.root = static_cast<int>(root);
  return ok();
}
}  // namespace

Outcome root_overlay(State& s, const Op& op) {
  forget_parent(s);
  const char* lower = s.plan.text(op.s1);
  // The mount needs a place in this mount namespace until it becomes "/": its top layer's directory
  // (overlayfs keeps private clones of its layers, so covering one changes nothing).
  RawFd place(raw(SYS_openat, AT_FDCWD, lower, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  if (!place.ok()) return fail(place.error(), Substep::kSource);
  RawFd context(raw(SYS_fsopen, "overlay", FSOPEN_CLOEXEC));
  if (!context.ok()) return fail(context.error(), Substep::kCreate);
  int64_t rc = option(context.get(), "source", "overlay");
  uint32_t index = 0;
  for (const char* at = lower; rc >= 0 && *at != '\0'; at += length(at) + 1, ++index) {
    rc = option(context.get(), "lowerdir+", at);
    if (index == 0 && rc == -EINVAL) return overlay_by_options(s, op, lower);
  }
  if (rc >= 0 && op.s2 != 0) rc = option(context.get(), "upperdir", s.plan.text(op.s2));
  if (rc >= 0 && op.s3 != 0) rc = option(context.get(), "workdir", s.plan.text(op.s3));
  if (rc >= 0 && (op.a & kOverlayVolatile) != 0) {
    rc = raw(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "volatile", nullptr, 0);
  }
  if (rc >= 0 && (op.a & kOverlayUserXattr) != 0) {
    rc = raw(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, 0);
  }
  if (rc < 0) return fail(rc, Substep::kOption, index);
  rc = raw(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  // KERNEL: before 6.5 overlayfs had no parser for fsconfig: every option is taken, and read here.
  if (rc == -EINVAL) return overlay_by_options(s, op, lower);
  if (rc < 0) return fail(rc, Substep::kCreate);
  int64_t tree = raw(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0);
  if (tree < 0) return fail(tree, Substep::kMount);
  s.root = static_cast<int>(tree);
  return attach(tree, place.get());
}

Outcome root_host(State& s) {
  forget_parent(s);
  int64_t fd = raw(SYS_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return fail(fd);
  s.root = static_cast<int>(fd);
  return ok();
}

// A tmpfs of the child's own on a directory of the host's; it goes with the host's tree at the
// pivot, empty again.
Outcome staging_area(State& s, const Op& op) {
  forget_parent(s);
  const char* path = s.plan.text(op.s1);
  static constexpr int kDirectory = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  RawFd place(raw(SYS_openat, AT_FDCWD, path, kDirectory, 0));
  if (!place.ok()) return fail(place.error(), Substep::kTarget);
  int64_t rc = raw(SYS_fchdir, place.get());
  if (rc < 0) return fail(rc, Substep::kTarget);
  s.cwd_moved = true;
  rc = raw(SYS_mount, "tmpfs", ".", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
           "mode=700,nr_inodes=16");
  if (rc < 0) return fail(rc, Substep::kMount);
  rc = raw(SYS_openat, AT_FDCWD, path, kDirectory, 0);
  if (rc < 0) return fail(rc, Substep::kTarget);
  s.root = s.staging = static_cast<int>(rc);
  return ok();
}

// KERNEL: an attached mount moves with all that is mounted below it, as long as its parent is not
// shared (move_mount(2)).
Outcome move_staged(State& s, const Op& op) {
  forget_parent(s);
  if (s.staging < 0) return fail(EINVAL, Substep::kSource);
  RawFd mount(open_in_root(s.staging, s.plan.text(op.s1), O_PATH | O_DIRECTORY, kInRootNoLinks));
  if (!mount.ok()) return fail(mount.error(), Substep::kSource);
  const char* path = s.plan.text(op.s2);
  int64_t found = open_in_root(s.root, path, O_PATH | O_DIRECTORY, kInRootNoLinks);
  if (found == -ENOENT) {
    bool made = false;
    found = make_in_root(s.root, path, Make::kDirectory, 0755, &made);
    if (found < 0) return fail(found, Substep::kMake);
  }
  RawFd target(found);
  if (!target.ok()) return fail(target.error(), Substep::kTarget);
  return attach(mount.get(), target.get());
}

Outcome pivot_root(State& s) {
  if (s.root < 0) return fail(EINVAL);
  int64_t rc = raw(SYS_fchdir, s.root);
  if (rc < 0) return fail(rc, Substep::kTarget);
  // KERNEL: pivot_root(".", ".") stacks the old root on the new one; the umount takes the upper.
  rc = raw(SYS_pivot_root, ".", ".");
  if (rc < 0) return fail(rc, Substep::kAttach);
  rc = raw(SYS_umount2, ".", 2 /* MNT_DETACH */);
  if (rc < 0) return fail(rc, Substep::kMount);
  s.cwd_moved = false;
  return check(raw(SYS_chdir, "/"), Substep::kTarget);
}

Outcome readonly_root(State& s) {
  if (s.root < 0) return fail(EINVAL);
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  int64_t rc = raw(SYS_mount_setattr, s.root, "", AT_EMPTY_PATH, &attr, sizeof attr);
  if (rc < 0) return fail(rc, Substep::kAttribute);
  struct statfs fs;
  rc = raw(SYS_fstatfs, s.root, &fs);
  return rc == 0 && (fs.f_flags & 1 /* ST_RDONLY */) != 0 ? ok() : fail(EROFS, Substep::kVerify);
}

int64_t root_of(State& s) {
  if (s.root >= 0) return s.root;
  const int64_t fd = raw(SYS_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd >= 0) s.root = static_cast<int>(fd);
  return fd;
}

Outcome change_directory(State& s, const Op& op) {
  const char* path = s.plan.text(op.s1);
  const int64_t root = root_of(s);
  if (root < 0) return fail(root, Substep::kTarget);
  RawFd fd(open_in_root(s.root, path, O_PATH | O_DIRECTORY));
  if (!fd.ok()) return fail(fd.error(), Substep::kTarget);
  int64_t rc = raw(SYS_fchdir, fd.get());
  if (rc < 0) return fail(rc);
  s.cwd_moved = false;
  // KERNEL: a directory outside the root reads "(unreachable)/…" (CVE-2024-21626).
  char now[PATH_MAX];
  rc = raw(SYS_getcwd, now, sizeof now);
  if (rc < 0) return fail(rc, Substep::kVerify);
  return now[0] == '/' ? ok() : fail(EXDEV, Substep::kVerify);
}
}  // namespace gantry::child
