#include "launcher/process/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/child/raw.h"

namespace gantry::launcher {
const char* normalise(int keep_fd) {
  child::raw(SYS_close_range, 3, keep_fd - 1, 0);
  child::raw(SYS_close_range, keep_fd + 1, ~0u, 0);
  // Raw: the C library hides 32 and 33, which posix_spawn leaves ignored, for every container to
  // inherit.
  child::reset_signals();
  if (chdir("/") != 0) return "change to /";
  umask(0077);
  clearenv();
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  // Neither we nor what we start write core files; containers get the limits of their plans.
  rlimit core;
  if (getrlimit(RLIMIT_CORE, &core) == 0) {
    core.rlim_cur = 0;
    setrlimit(RLIMIT_CORE, &core);
  }
  // KERNEL: a real-time process cannot enter a v1 cpu cgroup without a real-time budget (EINVAL).
  const sched_param ordinary{};
  sched_setscheduler(0, SCHED_OTHER, &ordinary);
  setpriority(PRIO_PROCESS, 0, 0);
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  sched_setaffinity(0, sizeof all, &all);
  prctl(PR_SET_NAME, "gantry-launcher");
  // A kernel without keys has nothing to separate.
  child::raw(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  return nullptr;
}

namespace {
// Reads `name` of `directory`; the length, 0 when it is empty or not there.
ssize_t read_value(int directory, const char* name, char* out, size_t size) {
  int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, out, size);
  close(fd);
  while (n > 0 && out[n - 1] == '\n') --n;
  return n < 0 ? 0 : n;
}

bool write_value(int directory, const char* name, const char* text, size_t size) {
  int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = write(fd, text, size);
  int error = errno;
  close(fd);
  errno = error;
  return n == static_cast<ssize_t>(size);
}

// KERNEL: a new v1 cpuset has no cpus and no memory nodes, and then takes no process.
void inherit_cpuset(int parent, int child) {
  static const char* const kNames[] = {"cpuset.cpus", "cpuset.mems"};
  for (const char* name : kNames) {
    char value[512];
    if (read_value(child, name, value, sizeof value) > 0) continue;
    ssize_t n = read_value(parent, name, value, sizeof value);
    if (n > 0) write_value(child, name, value, static_cast<size_t>(n));
  }
}

// Walks (and makes) `path` below the hierarchy's mount; a directory descriptor or -1.
int make_path(int mount, const char* path) {
  int at = dup(mount);
  while (at >= 0) {
    while (*path == '/') ++path;
    if (*path == '\0') return at;
    char name[256];
    size_t n = 0;
    while (path[n] != '\0' && path[n] != '/' && n + 1 < sizeof name) {
      name[n] = path[n];
      ++n;
    }
    name[n] = '\0';
    path += n;
    if (mkdirat(at, name, 0755) != 0 && errno != EEXIST) break;
    int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) break;
    inherit_cpuset(at, next);
    close(at);
    at = next;
  }
  int error = errno;
  if (at >= 0) close(at);
  errno = error;
  return -1;
}

const char* enter_one(const char* mount_point, const char* root, bool is_v2) {
  int mount = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (mount < 0) return "open a cgroup hierarchy";
  char path[512];
  if (snprintf(path, sizeof path, "%s/launcher", root) >= static_cast<int>(sizeof path)) {
    close(mount);
    errno = ENAMETOOLONG;
    return "make the launcher's cgroup";
  }
  int own = make_path(mount, path);
  close(mount);
  if (own < 0) return "make the launcher's cgroup";
  // KERNEL: a single-threaded process may move by `tasks`, which takes no global lock (v1).
  const bool moved = write_value(own, is_v2 ? "cgroup.procs" : "tasks", "0", 1);
  close(own);
  return moved ? nullptr : "enter the launcher's cgroup";
}
}  // namespace

const char* enter_cgroups(const char* root) {
  static char mounts[256 * 1024];
  int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "read mountinfo";
  size_t used = 0;
  for (ssize_t n;
       used + 1 < sizeof mounts && (n = read(fd, mounts + used, sizeof mounts - 1 - used)) > 0;) {
    used += static_cast<size_t>(n);
  }
  close(fd);
  mounts[used] = '\0';
  // 31 30 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
  for (char *line = mounts, *next; line != nullptr && *line != '\0'; line = next) {
    next = strchr(line, '\n');
    if (next != nullptr) *next++ = '\0';
    char* type = strstr(line, " - cgroup");
    if (type == nullptr) continue;
    type += 3;
    const bool is_v2 = strncmp(type, "cgroup2 ", 8) == 0;
    if (!is_v2 && strncmp(type, "cgroup ", 7) != 0) continue;
    char* mount_point = line;
    for (int field = 0; field < 4 && mount_point != nullptr; ++field) {
      mount_point = strchr(mount_point, ' ');
      if (mount_point != nullptr) ++mount_point;
    }
    if (mount_point == nullptr) continue;
    *strchr(mount_point, ' ') = '\0';
    if (const char* wrong = enter_one(mount_point, root, is_v2)) return wrong;
  }
  return nullptr;
}
}  // namespace gantry::launcher
