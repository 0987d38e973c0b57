#include "launcher/child/path.h"

#include <errno.h>
#include <linux/limits.h>
#include <sys/stat.h>

namespace gantry::child {
int64_t open_in_root(int root, const char* path, int flags, uint64_t resolve, uint64_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
  how.mode = mode;
  how.resolve = resolve;
  int64_t fd;
  // KERNEL: EAGAIN says that a rename elsewhere on the host raced with the walk (openat2(2)).
  int tries = 64;
  do {
    fd = raw(SYS_openat2, root, path, &how, sizeof how);
  } while ((fd == -EAGAIN && --tries > 0) || fd == -EINTR);
  return fd;
}

namespace {
// Copies the next component of `path` behind `at` to `name`; returns the position after it, 0 at
// the end, or -errno.
int64_t next_component(const char* path, size_t at, char* name, size_t name_size) {
  while (path[at] == '/') ++at;
  size_t n = 0;
  while (path[at + n] != '\0' && path[at + n] != '/') {
    if (n + 1 >= name_size) return -ENAMETOOLONG;
    name[n] = path[at + n];
    ++n;
  }
  name[n] = '\0';
  return n == 0 ? 0 : static_cast<int64_t>(at + n);
}

bool is_last(const char* path, size_t at) {
  while (path[at] == '/') ++at;
  return path[at] == '\0';
}

int64_t make_one(int directory, const char* name, Make what, uint32_t mode) {
  return what == Make::kDirectory ? raw(SYS_mkdirat, directory, name, mode)
                                  : raw(SYS_mknodat, directory, name, S_IFREG | (mode & 07777), 0);
}
}  // namespace

int64_t make_in_root(int root, const char* path, Make what, uint32_t mode, bool* made) {
  *made = false;
  int64_t found = open_in_root(root, path, O_PATH);
  if (found != -ENOENT) return found;
  // Walk on: `prefix` is what has been resolved, always from the root, so that a symbolic link's
  // `..` means what it means inside the container.
  char prefix[PATH_MAX];
  char name[256];
  size_t at = 0;
  RawFd directory(open_in_root(root, ".", O_PATH | O_DIRECTORY));
  if (!directory.ok()) return -directory.error();
  for (;;) {
    int64_t next = next_component(path, at, name, sizeof name);
    if (next <= 0) return next == 0 ? -ENOENT : next;
    if (same(name, "..")) return -EINVAL;  // in a path of which parts are missing: no meaning
    at = static_cast<size_t>(next);
    if (at >= sizeof prefix) return -ENAMETOOLONG;
    for (size_t i = 0; i < at; ++i) prefix[i] = path[i];
    prefix[at] = '\0';
    const bool last = is_last(path, at);
    const Make kind = last ? what : Make::kDirectory;
    int64_t fd = open_in_root(root, prefix, O_PATH);
    if (fd == -ENOENT) {
      int64_t rc = make_one(directory.get(), name, kind, last ? mode : 0755);
      if (rc == 0 && last) *made = true;
      // EEXIST: another made it first, or a link is there that leads nowhere; the next look tells.
      if (rc < 0 && rc != -EEXIST) return rc;
      // SAFETY: by the directory's descriptor and without following: exactly what was made.
      fd = raw(SYS_openat, directory.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
      struct stat st;
      if (fd >= 0 && (raw(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH) < 0 ||
                      (st.st_mode & S_IFMT) == S_IFLNK)) {
        raw(SYS_close, fd);
        return -ELOOP;
      }
    }
    if (fd < 0 || last) return fd;
    directory.reset(fd);
  }
}

void forget_parent(State& s) { s.parent_fd = -1; }

int64_t open_parent(State& s, const char* path, char* name, size_t name_size) {
  char directory[PATH_MAX];
  size_t end = length(path);
  while (end > 0 && path[end - 1] == '/') --end;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/') --begin;
  if (begin == end) return -EINVAL;
  if (end - begin >= name_size || begin + 1 >= sizeof directory) return -ENAMETOOLONG;
  for (size_t i = begin; i < end; ++i) name[i - begin] = path[i];
  name[end - begin] = '\0';
  if (same(name, ".") || same(name, "..")) return -EINVAL;
  for (size_t i = 0; i < begin; ++i) directory[i] = path[i];
  directory[begin] = '\0';
  if (s.parent_fd >= 0 && same(directory, s.parent_path)) return s.parent_fd;
  int64_t fd = open_in_root(s.root, begin == 0 ? "." : directory, O_PATH | O_DIRECTORY);
  if (fd >= 0 && fd < RawFd::kCloseFrom && begin < sizeof s.parent_path) {
    for (size_t i = 0; i <= begin; ++i) s.parent_path[i] = directory[i];
    s.parent_fd = static_cast<int>(fd);
  }
  return fd;
}
}  // namespace gantry::child
