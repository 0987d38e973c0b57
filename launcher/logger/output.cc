// From pipes to files.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/log_files.h"
#include "launcher/logger/log_file.h"
#include "launcher/logger/logger.h"

namespace gantry::logger {
bool is_full(int error) {
  return error == ENOSPC || error == EDQUOT || error == EIO || error == ENOMEM || error == EMFILE ||
         error == ENFILE;
}

bool is_removed(int file) {
  struct stat st;
  return fstat(file, &st) != 0 || st.st_nlink == 0;
}

void Logger::start_stream(uint32_t slot, int which, int pipe) {
  Stream& stream = tables_->entries[slot].streams[which];
  stream.is_given = true;
  stream.pipe = pipe;
  ++open_pipes_;
  watch_fd(pipe, kPipe, slot * 2 + static_cast<uint32_t>(which));
}

void Logger::end_stream(uint32_t slot, int which) {
  Stream& stream = tables_->entries[slot].streams[which];
  // KERNEL: an epoll entry lives as long as the open file does, and the launcher has it open too.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, stream.pipe, nullptr);
  close(stream.pipe);
  stream.pipe = -1;
  --open_pipes_;
  if (stream.is_stalled) --stalled_;
  stream.is_stalled = false;
  tell_flowing(slot, which);
}

void Logger::close_file(Stream& stream) {
  if (stream.file >= 0) close(stream.file);
  stream.file = -1;
}

void Logger::discard(Stream& stream) {
  close_file(stream);
  stream.is_discarding = true;
}

int Logger::open_file(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  const int directory = open_directory(entry.directory);
  if (directory < 0) return directory;
  LogFile file;
  const int rc = open_log(directory, kLogNames[which], stream.size_known ? stream.size : 0, &file);
  close(directory);
  if (rc < 0) return rc;
  stream.file = file.fd;
  stream.begin = file.begin;
  stream.size = file.begin + file.size;
  stream.size_known = true;
  return 0;
}

void Logger::learn_size(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  if (stream.size_known) return;
  stream.size_known = true;
  const int directory = open_directory(entry.directory);
  if (directory < 0) return;
  stream.size = find_end(directory, kLogNames[which]);
  close(directory);
}

int Logger::ensure_file(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  if (stream.file >= 0 || stream.is_discarding) return 1;
  int waiting = 0;
  if (ioctl(stream.pipe, FIONREAD, &waiting) != 0 || waiting == 0) {
    pollfd p = {stream.pipe, POLLIN, 0};
    if (poll(&p, 1, 0) <= 0) return 0;
    // Its end, and nothing was ever written: no file is made. KERNEL: poll looks for bytes before
    // it looks for writers, without a lock: what the last one wrote in between it does not tell.
    if ((p.revents & POLLIN) == 0 &&
        (ioctl(stream.pipe, FIONREAD, &waiting) != 0 || waiting == 0)) {
      return 1;
    }
  }
  const int rc = open_file(entry, which);
  if (is_full(-rc)) return rc;
  if (rc < 0) discard(stream);
  return 1;
}

// Bytes moved, 0 at the pipe's end, or -errno (-EAGAIN: it is empty).
ssize_t Logger::move_bytes(Stream& stream, size_t limit) {
  char* const buffer = tables_->buffer;
  off_t offset = static_cast<off_t>(stream.size - stream.begin);
  if (stream.file >= 0) {
    ssize_t n = splice(stream.pipe, nullptr, stream.file, &offset, limit, SPLICE_F_NONBLOCK);
    if (n >= 0 || errno != EINVAL) return n < 0 ? -errno : n;
  }
  // Nowhere to put it, or a file system that cannot splice: by way of a buffer.
  pollfd p = {stream.pipe, POLLIN, 0};
  if (poll(&p, 1, 0) <= 0) return -EAGAIN;
  if (limit > sizeof tables_->buffer) limit = sizeof tables_->buffer;
  if (stream.file >= 0) {
    // ORDER: taken from the pipe when they are in the file: a full disk loses none.
    const ssize_t copied = tee(stream.pipe, scratch_[1], limit, SPLICE_F_NONBLOCK);
    if (copied <= 0) return copied < 0 ? -errno : 0;
    const ssize_t there = read(scratch_[0], buffer, static_cast<size_t>(copied));
    if (there != copied) return -EIO;
    const ssize_t written = pwrite(stream.file, buffer, static_cast<size_t>(copied), offset);
    if (written <= 0) return written < 0 ? -errno : -EIO;
    limit = static_cast<size_t>(written);
  }
  const ssize_t n = read(stream.pipe, buffer, limit);
  return n < 0 ? -errno : n;
}

// KERNEL: splice() keeps a pipe locked while it copies, so that whoever writes waits for each copy.
// With room for several pieces of output it fills the next ones in between. A kernel that allows no
// more (fcntl(2), F_SETPIPE_SZ) leaves it as it is.
void Logger::widen(Stream& stream) {
  if (stream.is_wide) return;
  stream.is_wide = true;
  fcntl(stream.pipe, F_SETPIPE_SZ, kWidePipeBytes);
}

// Not a byte is dropped for want of room: the pipe fills, the container waits.
void Logger::stall(uint32_t slot, int which, int error) {
  Stream& stream = tables_->entries[slot].streams[which];
  if (stream.is_stalled) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, stream.pipe, nullptr);
  stream.is_stalled = true;
  ++stalled_;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (stream.is_told || (stream.told_s != 0 && now.tv_sec - stream.told_s < kToldSeconds)) return;
  stream.is_told = true;
  stream.stall_error = error;
  stream.told_s = now.tv_sec;
  tell_stalled(tables_->entries[slot], error);
}

void Logger::tell_flowing(uint32_t slot, int which) {
  Stream& stream = tables_->entries[slot].streams[which];
  if (!stream.is_told) return;
  stream.is_told = false;
  tell_stalled(tables_->entries[slot], 0);
}

int Logger::write_held(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  Stream& stream = entry.streams[0];
  while (entry.held > 0) {
    if (stream.file < 0 && !stream.is_discarding) {
      const int rc = open_file(entry, 0);
      if (is_full(-rc)) return rc;
      if (rc < 0) discard(stream);
    }
    ssize_t n = static_cast<ssize_t>(entry.held);
    if (stream.file >= 0) {
      if (note_time(entry, 0) && is_removed(stream.file)) {
        close_file(stream);
        continue;
      }
      const char* const bytes = tables_->held[slot] + entry.held_from;
      n = take_from_memory(entry, 0, bytes, entry.held);
      if (n > 0) {
        n = pwrite(stream.file, bytes, static_cast<size_t>(n),
                   static_cast<off_t>(stream.size - stream.begin));
        if (n < 0) n = -errno;
      }
      if (is_full(static_cast<int>(-n))) return static_cast<int>(n);
      if (n <= 0) {
        discard(stream);
        continue;
      }
      stream.size += static_cast<uint64_t>(n);
    }
    entry.held -= static_cast<uint32_t>(n);
    entry.held_from += static_cast<uint32_t>(n);
  }
  return 0;
}

bool Logger::drain_terminal(uint32_t slot, size_t limit) {
  Entry& entry = tables_->entries[slot];
  Stream& stream = entry.streams[0];
  bool is_changed = false;
  for (size_t moved = 0; moved < limit && stream.pipe >= 0;) {
    if (entry.held == 0) {
      // Whoever is attached has the same open file: it may have made it blocking.
      pollfd p = {stream.pipe, POLLIN, 0};
      if (poll(&p, 1, 0) <= 0) break;
      const ssize_t n = read(stream.pipe, tables_->held[slot], kTerminalBytes);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (n <= 0) {  // EIO: nobody has the other side open any more
        end_stream(slot, 0);
        close_times(entry);
        close_file(stream);
        tell_drained(slot);
        return true;
      }
      entry.held = static_cast<uint32_t>(n);
      entry.held_from = 0;
      moved += static_cast<size_t>(n);
    }
    const uint64_t before = stream.size;
    const int rc = write_held(slot);
    is_changed |= stream.size != before;
    if (rc < 0) {
      stall(slot, 0, -rc);
      break;
    }
  }
  return is_changed;
}

bool Logger::drain(uint32_t slot, int which, size_t limit) {
  Entry& entry = tables_->entries[slot];
  if (entry.is_terminal) return which == 0 && drain_terminal(slot, limit);
  Stream& stream = entry.streams[which];
  bool is_changed = false;
  for (size_t moved = 0; moved < limit && stream.pipe >= 0;) {
    ssize_t n = ensure_file(entry, which);
    if (n == 0) break;
    if (stream.file >= 0 && note_time(entry, which) && is_removed(stream.file)) {
      close_file(stream);
      continue;
    }
    if (n > 0 && stream.file >= 0) {
      n = take_from_pipe(entry, which, limit - moved);
    } else if (n > 0) {
      n = static_cast<ssize_t>(limit - moved);
    }
    if (n > 0) n = move_bytes(stream, static_cast<size_t>(n));
    if (n > 0) {
      moved += static_cast<size_t>(n);
      if (static_cast<size_t>(n) >= kPipeBytes) widen(stream);
      if (stream.file >= 0) stream.size += static_cast<uint64_t>(n);
      is_changed = true;
    } else if (n == 0) {
      end_stream(slot, which);
      close_file(stream);
      is_changed = true;
    } else if (is_full(static_cast<int>(-n))) {
      stall(slot, which, static_cast<int>(-n));
      break;
    } else if (n == -EAGAIN || n == -EINTR) {
      break;
    } else {
      discard(stream);
    }
  }
  if (is_changed && entry.streams[0].pipe < 0 && entry.streams[1].pipe < 0) {
    close_times(entry);
    tell_drained(slot);
  }
  return is_changed;
}

void Logger::tell_drained(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  Request message;
  message.head.type = MessageType::kDrained;
  message.slot = slot;
  memcpy(message.key, entry.key, sizeof message.key);
  const bool is_unsent =
      launcher_ >= 0 && node::send(launcher_, &message, sizeof message, nullptr, 0) == -EAGAIN;
  if (is_unsent && !entry.drained_unsent) ++stalled_;
  if (!is_unsent && entry.drained_unsent) --stalled_;
  entry.drained_unsent = is_unsent;
}

void Logger::retry_stalled() {
  for (uint32_t i = 0; i < high_water_; ++i) {
    Entry& entry = tables_->entries[i];
    if (!entry.is_used) continue;
    if (entry.drained_unsent) tell_drained(i);
    for (int which = 0; which < 2; ++which) {
      Stream& stream = entry.streams[which];
      if (!stream.is_stalled) continue;
      stream.is_stalled = false;
      --stalled_;
      const bool is_changed = drain(i, which, kTurnBytes);
      if (stream.pipe >= 0 && !stream.is_stalled) {
        watch_fd(stream.pipe, kPipe, i * 2 + static_cast<uint32_t>(which));
      }
      if (is_changed) changed(i);
      if (!stream.is_stalled) tell_flowing(i, which);
    }
  }
}
}  // namespace gantry::logger
