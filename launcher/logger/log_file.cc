#include "launcher/logger/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "launcher/log_files.h"

namespace gantry::logger {
namespace {
constexpr int kSafeFlags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

struct Name {
  char text[32];
};
Name former_name(const char* name, uint32_t number) {
  Name out;
  snprintf(out.text, sizeof out.text, "%s.%u", name, number);
  return out;
}
Name next_name(const char* name) {
  Name out;
  snprintf(out.text, sizeof out.text, ".%s.next", name);
  return out;
}

bool is_ours(int fd, struct stat* st) {
  return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_uid == geteuid();
}

uint64_t begin_of(int fd) {
  uint64_t begin = 0;
  return fgetxattr(fd, kLogBeginAttribute, &begin, sizeof begin) == sizeof begin ? begin : 0;
}

int set_begin(int fd, uint64_t begin) {
  return fsetxattr(fd, kLogBeginAttribute, &begin, sizeof begin, 0) == 0 ? 0 : -errno;
}

// False when there is none of ours.
bool look_at(int directory, const char* name, LogFile* out) {
  struct stat st;
  const int fd = openat(directory, name, O_RDONLY | kSafeFlags);
  if (fd < 0) return false;
  const bool is_there = is_ours(fd, &st);
  if (is_there) *out = {-1, begin_of(fd), static_cast<uint64_t>(st.st_size)};
  close(fd);
  return is_there;
}

bool is_there(int directory, const char* name) {
  struct stat st;
  return fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

uint64_t end_of_former(int directory, const char* name) {
  LogFile former;
  return look_at(directory, former_name(name, 1).text, &former) ? former.begin + former.size : 0;
}

// Moves every former file up by one name, over the oldest. A name that is missing in between ends
// it: there a rotation was interrupted, and no other file needs to go.
int make_place(int directory, const char* name, uint32_t files) {
  uint32_t free = 1;
  while (free < files - 1 && is_there(directory, former_name(name, free).text)) ++free;
  for (; free > 1; --free) {
    const Name from = former_name(name, free - 1), to = former_name(name, free);
    if (renameat(directory, from.text, directory, to.text) != 0 && errno != ENOENT) return -errno;
  }
  if (renameat(directory, name, directory, former_name(name, 1).text) == 0) return 0;
  return errno == ENOENT ? 0 : -errno;
}

// A new file, whole but for its name.
int make_next(int directory, const char* next, uint64_t begin) {
  unlinkat(directory, next, 0);
  const int fd = openat(directory, next, O_RDWR | O_CREAT | O_EXCL | kSafeFlags, 0640);
  if (fd < 0) return -errno;
  const int rc = set_begin(fd, begin);
  if (rc == 0) return fd;
  close(fd);
  unlinkat(directory, next, 0);
  return rc;
}
}  // namespace

int open_directory(const char* path) {
  const int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int open_regular(int directory, const char* name, int flags, struct stat* st) {
  const int fd = openat(directory, name, flags | O_RDWR | O_CREAT | kSafeFlags, 0640);
  if (fd < 0) return -errno;
  if (is_ours(fd, st)) return fd;
  close(fd);
  return -EINVAL;
}

int open_log(int directory, const char* name, uint64_t end, LogFile* out) {
  struct stat st;
  unlinkat(directory, next_name(name).text, 0);  // of a rotation that was interrupted
  const int fd = open_regular(directory, name, 0, &st);
  if (fd < 0) return fd;
  *out = {fd, begin_of(fd), static_cast<uint64_t>(st.st_size)};
  if (out->size > 0 || out->begin > 0) return 0;
  const uint64_t former = end_of_former(directory, name);
  out->begin = end > former ? end : former;
  const int rc = out->begin > 0 ? set_begin(fd, out->begin) : 0;
  // Without such attributes nothing is rotated: it was removed, and the stream begins anew.
  if (rc == -EOPNOTSUPP || rc == -EPERM) out->begin = 0;
  if (rc == 0 || out->begin == 0) return 0;
  close(fd);
  return rc;
}

uint64_t find_end(int directory, const char* name) {
  LogFile file;
  if (look_at(directory, name, &file) && (file.size > 0 || file.begin > 0)) {
    return file.begin + file.size;
  }
  return end_of_former(directory, name);
}

uint64_t find_begin(int directory, const char* name) {
  LogFile file;
  uint64_t begin = look_at(directory, name, &file) ? file.begin : 0;
  uint32_t missing = 0;
  for (uint32_t i = 1; i < kMostLogFiles && missing <= kMostMissingNames; ++i) {
    missing = look_at(directory, former_name(name, i).text, &file) ? 0 : missing + 1;
    if (missing == 0 && file.begin < begin) begin = file.begin;
  }
  return begin;
}

int rotate_log(int directory, const char* name, uint32_t files, uint64_t end, LogFile* out) {
  const Name next = next_name(name);
  const int fd = make_next(directory, next.text, end);
  if (fd < 0) return fd;
  int rc = files > 1 ? make_place(directory, name, files) : 0;
  // ORDER: last: until then the file that is `name`, or the first of the former ones, says where
  // the next begins.
  if (rc == 0 && renameat(directory, next.text, directory, name) != 0) rc = -errno;
  if (rc == 0) {
    *out = {fd, end, 0};
    return 0;
  }
  close(fd);
  unlinkat(directory, next.text, 0);
  return rc;
}
}  // namespace gantry::logger
