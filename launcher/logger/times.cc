// The index of when what came (launcher/log_times.h).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/log_files.h"
#include "launcher/log_times.h"
#include "launcher/logger/log_file.h"
#include "launcher/logger/logger.h"

namespace gantry::logger {
namespace {
constexpr const char* kNextTimesFile = ".output-times.next";
// Smaller than this it is not worth the while; of a larger one (a tenant's doing) only the end is
// kept.
constexpr uint64_t kLeastTrimmed = 64u << 10;
constexpr uint64_t kMostTrimmed = 64u << 20;

int open_times(const char* path) {
  const int directory = open_directory(path);
  if (directory < 0) return directory;
  struct stat st;
  const int fd = open_regular(directory, kTimesFile, O_APPEND, &st);
  close(directory);
  return fd;
}

// Copies the entries about bytes that are still there, and the last one before them of each stream.
bool copy_times(int from, uint64_t at, uint64_t size, const uint64_t* begins, LogTime* buffer,
                size_t room, int to) {
  LogTime last_before[2];
  bool has_before[2] = {};
  while (at < size) {
    const ssize_t n = pread(from, buffer, room * sizeof *buffer, static_cast<off_t>(at));
    const size_t count = n < 0 ? 0 : static_cast<size_t>(n) / sizeof *buffer;
    if (count == 0) return false;
    at += count * sizeof *buffer;
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      const LogTime noted = buffer[i];
      const uint64_t which = noted.place & 1;
      if ((noted.place >> 1) < begins[which]) {
        last_before[which] = noted;
        has_before[which] = true;
        continue;
      }
      if (has_before[which]) {
        has_before[which] = false;
        // Bounded by the entries left out: there is room before this one.
        if (write(to, &last_before[which], sizeof noted) != sizeof noted) return false;
      }
      buffer[kept++] = noted;
    }
    const ssize_t bytes = static_cast<ssize_t>(kept * sizeof *buffer);
    if (write(to, buffer, static_cast<size_t>(bytes)) != bytes) return false;
  }
  for (int which = 0; which < 2; ++which) {
    if (has_before[which] && write(to, &last_before[which], sizeof(LogTime)) != sizeof(LogTime)) {
      return false;
    }
  }
  return true;
}
}  // namespace

// ORDER: before the bytes move, so that who reads them finds their time. An entry that no bytes
// follow is superseded by the next.
bool Logger::note_time(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t now_ns = now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  if (stream.noted_ns <= now_ns && now_ns - stream.noted_ns < kTimesResolutionNs) return false;
  stream.noted_ns = now_ns;
  if (entry.times >= 0 && is_removed(entry.times)) close_times(entry);
  if (entry.times == -1) {
    const int fd = open_times(entry.directory);
    entry.times = fd >= 0 ? fd : is_full(-fd) ? -1 : -2;
  }
  if (entry.times < 0) return true;
  const LogTime noted = {now_ns, stream.size << 1 | static_cast<uint64_t>(which)};
  const ssize_t n = write(entry.times, &noted, sizeof noted);
  // On a full disk these bytes have the time of those before. Half an entry would shift all others.
  if (n > 0 && n != sizeof noted) {
    close_times(entry);
    entry.times = -2;
  }
  return true;
}

void Logger::close_times(Entry& entry) {
  if (entry.times >= 0) close(entry.times);
  entry.times = -1;
}

// What the index says of removed files goes, each time that it has doubled.
void Logger::trim_times(Entry& entry, int directory) {
  struct stat st;
  if (entry.times < 0 || fstat(entry.times, &st) != 0) return;
  if (entry.times_trim_at < kLeastTrimmed) entry.times_trim_at = kLeastTrimmed;
  const uint64_t size = static_cast<uint64_t>(st.st_size) / sizeof(LogTime) * sizeof(LogTime);
  if (size < entry.times_trim_at) return;
  uint64_t begins[2];
  for (int i = 0; i < 2; ++i) begins[i] = find_begin(directory, kLogNames[i]);
  unlinkat(directory, kNextTimesFile, 0);
  const int next = open_regular(directory, kNextTimesFile, O_APPEND | O_EXCL, &st);
  if (next < 0) return;
  const uint64_t from = size > kMostTrimmed ? size - kMostTrimmed : 0;
  const bool is_copied =
      copy_times(entry.times, from, size, begins, reinterpret_cast<LogTime*>(tables_->buffer),
                 sizeof tables_->buffer / sizeof(LogTime), next);
  if (is_copied && renameat(directory, kNextTimesFile, directory, kTimesFile) == 0) {
    close_times(entry);
    entry.times = next;
    if (fstat(next, &st) == 0) entry.times_trim_at = static_cast<uint64_t>(st.st_size) * 2;
    return;
  }
  close(next);
  unlinkat(directory, kNextTimesFile, 0);
  entry.times_trim_at = size * 2;
}
}  // namespace gantry::logger
