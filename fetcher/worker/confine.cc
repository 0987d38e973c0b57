#include "fetcher/worker/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <grp.h>

#include <cerrno>
#include <cstdlib>

#include "base/sys.h"

namespace gantry::worker {
namespace {
Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

Result<void> set_limit(int resource, uint64_t value, const char* name) {
  rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &now) != 0) return failed(name);
  if (now.rlim_max < value) value = now.rlim_max;
  rlimit want{value, value};
  if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &want) != 0) return failed(name);
  return {};
}

// `flags`: AT_RECURSIVE for all that is mounted below, too.
Result<void> make_quiet(int mount_fd, uint64_t more, unsigned flags = 0) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | more;
  if (::syscall(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH | flags, &attributes,
                sizeof attributes) != 0) {
    return failed("restrict a mount");
  }
  return {};
}
}  // namespace

Result<void> harden(pid_t parent, int last_fd) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return failed("PR_SET_PDEATHSIG");
  // ORDER: the parent may have died before the line above; it sends no signal then.
  if (::getppid() != parent) ::_exit(0);
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return failed("PR_SET_DUMPABLE");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("PR_SET_NO_NEW_PRIVS");
  ::umask(0);
  if (::syscall(SYS_close_range, static_cast<unsigned>(last_fd) + 1, ~0u, 0) != 0) {
    return failed("close_range");
  }
  return set_limit(RLIMIT_CORE, 0, "limit core files");
}

Result<void> limit(const Limits& limits) {
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
  // The sanitizers map terabytes of shadow memory.
  GANTRY_TRY(set_limit(RLIMIT_AS, limits.address_space, "limit the address space"));
#endif
  GANTRY_TRY(set_limit(RLIMIT_FSIZE, limits.file_size, "limit the size of files"));
  // Beyond RLIMIT_FSIZE write fails with EFBIG, not a signal.
  ::signal(SIGXFSZ, SIG_IGN);
  return set_limit(RLIMIT_NOFILE, limits.open_files, "limit open files");
}

namespace {
Result<void> leave_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return failed("unshare the mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failed("make mounts private");
  }
  return {};
}

// The working directory is the root of a mount in this namespace.
Result<void> pivot_here() {
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return failed("pivot_root");
  // KERNEL: pivot_root(".", ".") stacks the old root on the new one (pivot_root(2)); this drops it.
  if (::umount2(".", MNT_DETACH) != 0) return failed("detach the old root");
  if (::chdir("/") != 0) return failed("chdir to the new root");
  return {};
}
}  // namespace

Result<void> enter_root(int fd, Below below) {
  // KERNEL: descriptors keep naming the old namespace's mounts; the working directory moves to the
  // copy with unshare.
  if (::fchdir(fd) != 0) return failed("enter the working directory");
  GANTRY_TRY(leave_mounts());
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (below == Below::keep_mounts) flags |= AT_RECURSIVE;
  UniqueFd tree(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, ".", flags)));
  if (!tree) return failed("open_tree of the working directory");
  GANTRY_TRY(make_quiet(tree.get(), 0));
  if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return failed("move_mount of the working directory");
  }
  if (::fchdir(tree.get()) != 0) return failed("enter the working directory");
  return pivot_here();
}

Result<void> enter_namespace(int mount_namespace, int root) {
  if (::setns(mount_namespace, CLONE_NEWNS) != 0) return failed("enter the mount namespace");
  if (::fchdir(root) != 0) return failed("enter the root");
  GANTRY_TRY(leave_mounts());
  if (::chroot(".") != 0) return failed("change the root");
  // The container's nodes must not be opened with our rights.
  UniqueFd here = GANTRY_TRY(sys::open("/", O_PATH | O_DIRECTORY));
  return make_quiet(here.get(), 0, AT_RECURSIVE);
}

namespace {
Result<void> set_option(int context, const char* name, const std::string& value) {
  if (::syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, name, value.c_str(), 0) == 0) return {};
  return failed(cat(name, " of the container's root"));
}

// By number: KERNEL: an option has at most 255 bytes.
std::string path_of(int fd) { return cat("/proc/self/fd/", fd); }

Result<void> set_layers(int context, const std::vector<int>& layers) {
  Result<void> set;
  for (size_t i = 0; set && i < layers.size(); ++i) {
    set = set_option(context, "lowerdir+", path_of(layers[i]));
  }
  if (set) return set;
  // KERNEL: `lowerdir+` is of 6.7.
  std::string all;
  for (int fd : layers) all += cat(all.empty() ? "" : ":", path_of(fd));
  return set_option(context, "lowerdir", all);
}
}  // namespace

Result<void> enter_overlay(const std::vector<int>& layers, int upper, int work) {
  // ORDER: made in the namespace that the layers' mounts are of (KERNEL: others are EINVAL).
  UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!context) return failed("open overlayfs");
  GANTRY_TRY(set_option(context.get(), "source", "overlay"));
  GANTRY_TRY(set_layers(context.get(), layers));
  if (upper >= 0) {
    GANTRY_TRY(set_option(context.get(), "upperdir", path_of(upper)));
    GANTRY_TRY(set_option(context.get(), "workdir", path_of(work)));
  }
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return failed("make the container's root");
  }
  const unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                              (upper < 0 ? MOUNT_ATTR_RDONLY : 0u);
  UniqueFd tree(
      static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes)));
  if (!tree) return failed("mount the container's root");
  GANTRY_TRY(leave_mounts());
  // Over a directory that every host has.
  if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return failed("place the container's root");
  }
  if (::fchdir(tree.get()) != 0) return failed("enter the container's root");
  return pivot_here();
}

Result<int> detach_read_only(int fd) {
  UniqueFd tree(static_cast<int>(
      ::syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree) return failed("open_tree of a layer");
  GANTRY_TRY(make_quiet(tree.get(), MOUNT_ATTR_RDONLY));
  return tree.release();
}

Result<void> leave_network() {
  if (::unshare(CLONE_NEWNET | CLONE_NEWIPC) != 0) return failed("unshare the network namespace");
  return {};
}

Result<void> keep_capabilities(uint64_t mask) {
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if ((mask & cap_bit(capability)) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL) {
      return failed("PR_CAPBSET_DROP");
    }
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return failed("clear the ambient capabilities");
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = data[half].permitted = static_cast<uint32_t>(mask >> (32 * half));
  }
  if (::syscall(SYS_capset, &header, data) != 0) return failed("capset");
  return {};
}

Result<void> become(uid_t uid, gid_t gid) {
  if (::setgroups(0, nullptr) != 0) return failed("setgroups");
  if (::setresgid(gid, gid, gid) != 0) return failed(cat("setresgid ", gid));
  if (::setresuid(uid, uid, uid) != 0) return failed(cat("setresuid ", uid));
  // KERNEL: a change of ids clears PDEATHSIG's dumpable-dependent state (prctl(2)): set it again.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return failed("PR_SET_PDEATHSIG");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (::syscall(SYS_capset, &header, none) != 0) return failed("capset");
  return {};
}

Result<void> restrict_files(const std::vector<std::string>& readable, int writable) {
  long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return {};  // a kernel without Landlock: the user's own permissions remain
  // The rights of ABI 1, known to every kernel that has Landlock.
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  constexpr uint64_t kWrite = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                              LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM |
                              LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR;
  UniqueFd rules(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!rules) return failed("make a Landlock rule set");
  auto allow = [&](int fd, uint64_t access) -> Result<void> {
    struct ::stat st;
    if (::fstat(fd, &st) != 0) return failed("stat for Landlock");
    if (!S_ISDIR(st.st_mode)) access &= LANDLOCK_ACCESS_FS_READ_FILE;
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = fd;
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      return failed("add a Landlock rule");
    }
    return {};
  };
  for (const std::string& path : readable) {
    auto fd = sys::open(path, O_PATH);
    if (fd) GANTRY_TRY(allow(fd->get(), kRead));
  }
  if (writable >= 0) GANTRY_TRY(allow(writable, kWrite));
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0) return failed("Landlock");
  return {};
}
}  // namespace gantry::worker
