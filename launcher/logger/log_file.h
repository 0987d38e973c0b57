// A stream's files on disk: finding, making, rotating (launcher/log_files.h has their form).
//
// Crash: whatever step is the last, what is there is a state that open_log and rotate_log go on
// from. SAFETY: the sandbox may be the tenant's to write to: names are opened without following
// links, and what is there must be a regular file of ours with one name.
#pragma once

#include <stdint.h>
#include <sys/stat.h>

namespace gantry::logger {
struct LogFile {
  int fd = -1;
  uint64_t begin = 0;  // the position of its first byte
  uint64_t size = 0;
};

// The directory, or -errno.
int open_directory(const char* path);
// A regular file of ours, made where it is missing; a descriptor or -errno.
int open_regular(int directory, const char* name, int flags, struct stat* st);
// The current file; one that is made begins at `end`, or where the former ended. 0 or -errno.
int open_log(int directory, const char* name, uint64_t end, LogFile* out);
// How far the stream is by what is on disk; makes nothing.
uint64_t find_end(int directory, const char* name);
// Where the oldest file begins.
uint64_t find_begin(int directory, const char* name);
// The current file becomes the first of the former ones, of which `files` - 1 stay; a new one
// begins at `end`. 0 or -errno, and then the current one goes on.
int rotate_log(int directory, const char* name, uint32_t files, uint64_t end, LogFile* out);
}  // namespace gantry::logger
