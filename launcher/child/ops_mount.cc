// Mounts below the root: made detached, configured, then attached by descriptor.
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "launcher/child/child.h"
#include "launcher/child/path.h"
#include "launcher/child/raw.h"

#define GANTRY_CHILD_AT_RECURSIVE 0x8000

namespace gantry::child {
namespace {
Outcome attach(int tree, int target) {
  return check(
      raw(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
      Substep::kAttach);
}

// fsopen … fsmount of a file system with a list of options; a tree descriptor or -errno in
// `outcome`.
int64_t detached_fs(const char* type, const char* options, uint64_t attributes, Outcome* outcome) {
  RawFd context(raw(SYS_fsopen, type, FSOPEN_CLOEXEC));
  if (!context.ok()) {
    *outcome = fail(context.error(), Substep::kCreate);
    return -1;
  }
  int64_t rc = raw(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, "source", type, 0);
  for (uint32_t index = 0; rc >= 0 && *options != '\0'; ++index) {
    const char* name = options;
    const char* value = name + length(name) + 1;
    options = value + length(value) + 1;
    rc = *value == '\0' ? raw(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, name, nullptr, 0)
                        : raw(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, name, value, 0);
    if (rc < 0) {
      *outcome = fail(rc, Substep::kOption, index);
      return -1;
    }
  }
  rc = raw(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (rc < 0) {
    *outcome = fail(rc, Substep::kCreate);
    return -1;
  }
  rc = raw(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes);
  if (rc < 0) *outcome = fail(rc, Substep::kMount);
  return rc;
}

// KERNEL: ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC of statfs have the values of the first four
// MOUNT_ATTR_ flags.
// Whether it has them, or why nobody can say: a file server that does not answer statfs.
int64_t check_attributes(int tree, uint64_t wanted) {
  static constexpr uint64_t kComparable =
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  struct statfs fs;
  const int64_t rc = raw(SYS_fstatfs, tree, &fs);
  if (rc < 0) return rc;
  const bool has_all =
      (static_cast<uint64_t>(fs.f_flags) & wanted & kComparable) == (wanted & kComparable);
  return has_all ? 0 : -EINVAL;
}

uint64_t resolve_of(const Op& op, const char* type) {
  return (op.flags & kOpNoSymlinks) != 0 || same(type, "proc") || same(type, "sysfs")
             ? kInRootNoLinks
             : kInRoot;
}
}  // namespace

namespace {
// MOUNT_ATTR_ flags as mount(2)'s, or false where the two do not mean the same. Read-only is such a
// case: mount(2) makes the whole file system read-only, which may be one that others use.
bool mount_flags_of(uint64_t attributes, uint64_t* flags) {
  static constexpr struct {
    uint64_t attribute, flag;
  } kSame[] = {{MOUNT_ATTR_NOSUID, MS_NOSUID},           {MOUNT_ATTR_NODEV, MS_NODEV},
               {MOUNT_ATTR_NOEXEC, MS_NOEXEC},           {MOUNT_ATTR_NOATIME, MS_NOATIME},
               {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME}, {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME}};
  *flags = 0;
  for (const auto& pair : kSame) {
    if ((attributes & pair.attribute) != 0) *flags |= pair.flag;
    attributes &= ~pair.attribute;
  }
  return attributes == 0;
}

// Options as mount(2) takes them, or false where a value would not survive.
bool option_text(const char* options, char* out, size_t size) {
  size_t used = 0;
  out[0] = '\0';
  while (*options != '\0') {
    const char* name = options;
    const char* value = name + length(name) + 1;
    options = value + length(value) + 1;
    const char* const parts[] = {used == 0 ? "" : ",", name, *value == '\0' ? "" : "=", value};
    for (const char* part : parts) {
      const bool is_separator = part == parts[0];
      for (; *part != '\0'; ++part) {
        if (used + 1 >= size || (*part == ',' && !is_separator)) return false;
        out[used++] = *part;
      }
    }
    out[used] = '\0';
  }
  return true;
}

// A new file system in two calls instead of ten: the working directory is the target, by its
// descriptor, and mount(2) gets no path but ".". False: the long way, which also knows what failed.
bool mount_here(State& s, const char* type, const Op& op, int target) {
  static constexpr const char* kTypes[] = {"proc", "tmpfs", "devpts", "mqueue", "sysfs"};
  bool is_known = false;
  for (const char* known : kTypes) is_known |= same(type, known);
  uint64_t flags = 0;
  char options[512];
  if (!is_known || !mount_flags_of(op.a, &flags) ||
      !option_text(s.plan.text(op.s3), options, sizeof options) || raw(SYS_fchdir, target) < 0) {
    return false;
  }
  s.cwd_moved = true;
  return raw(SYS_mount, type, ".", type, flags, options) == 0;
}
}  // namespace

Outcome mount_fs(State& s, const Op& op) {
  forget_parent(s);
  const char* type = s.plan.text(op.s1);
  const char* path = s.plan.text(op.s2);
  int64_t found = open_in_root(s.root, path, O_PATH | O_DIRECTORY, resolve_of(op, type));
  if (found == -ENOENT && op.b != 0) {
    bool made = false;
    found = make_in_root(s.root, path, Make::kDirectory, static_cast<uint32_t>(op.b), &made);
    if (found < 0) return fail(found, Substep::kMake);
  }
  RawFd target(found);
  if (!target.ok()) return fail(target.error(), Substep::kTarget);
  if (mount_here(s, type, op, target.get())) return ok();
  Outcome outcome;
  RawFd tree(detached_fs(type, s.plan.text(op.s3), op.a, &outcome));
  if (!tree.ok()) return outcome;
  return attach(tree.get(), target.get());
}

namespace {
// The source of a bind as a detached tree. A descriptor is one already (open_tree in the parent).
int64_t bind_source(State& s, const Op& op, int recursive) {
  if (op.fd >= 0) return raw(SYS_fcntl, s.fds[op.fd], F_DUPFD_CLOEXEC, 3);
  const int no_follow = (op.b & kBindNoFollow) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
  return raw(SYS_open_tree, AT_FDCWD, s.plan.text(op.s1),
             OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive | no_follow);
}

int64_t bind_target(State& s, const Op& op, int tree) {
  const char* path = s.plan.text(op.s2);
  const uint64_t resolve = (op.flags & kOpNoSymlinks) != 0 ? kInRootNoLinks : kInRoot;
  // KERNEL: a file can be mounted on a symbolic link; lookups meet the mount before the link.
  const int cover = (op.b & kBindCoverLink) != 0 ? O_NOFOLLOW : 0;
  int64_t found = open_in_root(s.root, path, O_PATH | cover, resolve);
  const uint64_t make = op.b & (kBindMakeFile | kBindMakeDirectory);
  if (found != -ENOENT || make == 0) return found;
  bool directory = make == kBindMakeDirectory;
  if (make == (kBindMakeFile | kBindMakeDirectory)) {
    struct stat st;
    int64_t rc = raw(SYS_newfstatat, tree, "", &st, AT_EMPTY_PATH);
    if (rc < 0) return rc;
    directory = (st.st_mode & S_IFMT) == S_IFDIR;
  }
  bool made = false;
  return make_in_root(s.root, path, directory ? Make::kDirectory : Make::kFile,
                      directory ? 0755 : 0644, &made);
}
}  // namespace

Outcome bind(State& s, const Op& op) {
  forget_parent(s);
  const int recursive = (op.b & kBindRecursive) != 0 ? GANTRY_CHILD_AT_RECURSIVE : 0;
  RawFd tree(bind_source(s, op, recursive));
  if (!tree.ok()) return fail(tree.error(), Substep::kSource);
  mount_attr attr{};
  attr.attr_set = op.a;
  if ((op.a & MOUNT_ATTR__ATIME) != 0) attr.attr_clr = MOUNT_ATTR__ATIME;
  attr.propagation =
      op.c != 0 ? op.c & ~static_cast<uint64_t>(MS_REC) : static_cast<uint64_t>(MS_PRIVATE);
  int64_t rc =
      raw(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH | recursive, &attr, sizeof attr);
  if (rc < 0) return fail(rc, Substep::kAttribute);
  rc = check_attributes(tree.get(), op.a);
  if (rc < 0) return fail(rc, Substep::kVerify);
  RawFd target(bind_target(s, op, tree.get()));
  if (!target.ok()) return fail(target.error(), Substep::kTarget);
  return attach(tree.get(), target.get());
}

namespace {
Outcome bind_clone(int source, int target) {
  RawFd tree(raw(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree.ok()) return fail(tree.error(), Substep::kMount);
  return attach(tree.get(), target);
}

// KERNEL: what makes it the null device is the number behind the descriptor, whatever a tenant did
// to the name (CVE-2025-31133).
Outcome open_null(State& s) {
  if (s.null_device >= 0) return ok();
  RawFd fd(open_in_root(s.root, "dev/null", O_PATH | O_NOFOLLOW, kInRootNoLinks));
  if (!fd.ok()) return fail(fd.error(), Substep::kSource);
  struct stat st;
  int64_t rc = raw(SYS_newfstatat, fd.get(), "", &st, AT_EMPTY_PATH);
  if (rc < 0) return fail(rc, Substep::kSource);
  if ((st.st_mode & S_IFMT) != S_IFCHR || st.st_rdev != makedev(1, 3)) {
    return fail(ENODEV, Substep::kSource);
  }
  s.null_device = fd.release();
  return ok();
}

Outcome mask_directory(State& s, int target) {
  if (s.empty_tree >= 0) return bind_clone(s.empty_tree, target);
  Outcome outcome;
  static constexpr char kOptions[] =
      "nr_inodes\0"
      "1\0mode\0"
      "0555\0";
  RawFd tree(detached_fs(
      "tmpfs", kOptions,
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &outcome));
  if (!tree.ok()) return outcome;
  outcome = attach(tree.get(), target);
  // One superblock for all masked directories: the others are clones of this one.
  if (outcome.error == 0) s.empty_tree = tree.release();
  return outcome;
}
}  // namespace

namespace {
// A detached clone of the null device, ready to be attached.
Outcome ready_null(State& s) {
  if (s.null_spare >= 0) return ok();
  Outcome null = open_null(s);
  if (null.error != 0) return null;
  int64_t tree =
      raw(SYS_open_tree, s.null_device, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (tree < 0) return fail(tree, Substep::kMount);
  s.null_spare = static_cast<int>(tree);
  return ok();
}
}  // namespace

Outcome mask_path(State& s, const Op& op) {
  RawFd target(open_in_root(s.root, s.plan.text(op.s1), O_PATH));
  if (target.error() == ENOENT || target.error() == ENOTDIR) return ok();
  if (!target.ok()) return fail(target.error(), Substep::kTarget);
  // Tried as a file first: most are, and the kernel refuses that on a directory.
  Outcome masked = ready_null(s);
  if (masked.error == 0) masked = attach(s.null_spare, target.get());
  if (masked.error == 0) {
    s.null_spare = -1;
    return ok();
  }
  struct stat st;
  int64_t rc = raw(SYS_newfstatat, target.get(), "", &st, AT_EMPTY_PATH);
  if (rc < 0) return fail(rc, Substep::kTarget);
  return (st.st_mode & S_IFMT) == S_IFDIR ? mask_directory(s, target.get()) : masked;
}

Outcome readonly_path(State& s, const Op& op) {
  RawFd target(open_in_root(s.root, s.plan.text(op.s1), O_PATH));
  if (target.error() == ENOENT || target.error() == ENOTDIR) return ok();
  if (!target.ok()) return fail(target.error(), Substep::kTarget);
  RawFd tree(raw(SYS_open_tree, target.get(), "",
                 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | GANTRY_CHILD_AT_RECURSIVE));
  if (!tree.ok()) return fail(tree.error(), Substep::kMount);
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  int64_t rc = raw(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH | GANTRY_CHILD_AT_RECURSIVE,
                   &attr, sizeof attr);
  if (rc < 0) return fail(rc, Substep::kAttribute);
  if (check_attributes(tree.get(), MOUNT_ATTR_RDONLY) < 0) return fail(EROFS, Substep::kVerify);
  return attach(tree.get(), target.get());
}
}  // namespace gantry::child
