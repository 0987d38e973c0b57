// When a stream goes on in a new file: at the end of a line, as near to its limit as lines allow.
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launcher/log_files.h"
#include "launcher/logger/log_file.h"
#include "launcher/logger/logger.h"

namespace gantry::logger {
namespace {
bool is_at_line_start(const Stream& stream) {
  if (stream.size == stream.begin) return true;
  char last = 0;
  const off_t at = static_cast<off_t>(stream.size - stream.begin) - 1;
  return pread(stream.file, &last, 1, at) == 1 && last == '\n';
}
}  // namespace

// KERNEL: tee() makes the pipe's pages appear in another pipe, and takes nothing from it.
LineEnds Logger::look_into_pipe(int pipe, size_t count, uint64_t room) {
  LineEnds ends;
  ends.room = room;
  ssize_t left = tee(pipe, scratch_[1], count, SPLICE_F_NONBLOCK);
  while (left > 0) {
    const size_t piece = static_cast<size_t>(left);
    const ssize_t n = read(scratch_[0], tables_->buffer,
                           piece < sizeof tables_->buffer ? piece : sizeof tables_->buffer);
    if (n <= 0) break;
    ends.look(tables_->buffer, static_cast<size_t>(n));
    left -= n;
  }
  return ends;
}

ssize_t Logger::take_from_pipe(Entry& entry, int which, size_t most) {
  Stream& stream = entry.streams[which];
  while (entry.max_bytes > 0 && !stream.stays_whole) {
    const uint64_t room = room_in(stream.size - stream.begin, entry.max_bytes);
    if (most <= room) break;
    int waiting = 0;
    ioctl(stream.pipe, FIONREAD, &waiting);
    // All of it fits; one byte more where nothing waits, to see whether the end follows.
    if (static_cast<uint64_t>(waiting) <= room) return waiting > 0 ? waiting : 1;
    const uint64_t looked_at = room + kMostBeyond;
    const LineEnds ends = look_into_pipe(
        stream.pipe, looked_at < static_cast<uint64_t>(waiting) ? looked_at : waiting, room);
    if (ends.seen == 0) return 1;
    const ssize_t n = take(entry, which, ends);
    if (n < 0) return n;
    if (n > 0) return n < static_cast<ssize_t>(most) ? n : static_cast<ssize_t>(most);
  }
  return static_cast<ssize_t>(most);
}

ssize_t Logger::take_from_memory(Entry& entry, int which, const char* bytes, size_t count) {
  Stream& stream = entry.streams[which];
  while (entry.max_bytes > 0 && !stream.stays_whole) {
    LineEnds ends;
    ends.room = room_in(stream.size - stream.begin, entry.max_bytes);
    if (count <= ends.room) break;
    ends.look(bytes, count);
    const ssize_t n = take(entry, which, ends);
    if (n != 0) return n;
  }
  return static_cast<ssize_t>(count);
}

// Bytes, 0 after a rotation, or -errno.
ssize_t Logger::take(Entry& entry, int which, const LineEnds& ends) {
  const Stream& stream = entry.streams[which];
  const uint64_t n =
      cut(ends, stream.size - stream.begin, entry.max_bytes, is_at_line_start(stream));
  return n > 0 ? static_cast<ssize_t>(n) : rotate(entry, which);
}

int Logger::rotate(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  LogFile next;
  const int directory = open_directory(entry.directory);
  int rc = directory;
  if (rc >= 0) rc = rotate_log(directory, kLogNames[which], entry.max_files, stream.size, &next);
  if (rc == 0) {
    close_file(stream);
    stream.file = next.fd;
    stream.begin = next.begin;
    trim_times(entry, directory);
  } else if (!is_full(-rc)) {
    // No extended attributes there, or its owner has put something in the way.
    stream.stays_whole = true;
    rc = 0;
  }
  if (directory >= 0) close(directory);
  return rc;
}
}  // namespace gantry::logger
