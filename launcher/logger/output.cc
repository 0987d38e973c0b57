// From pipes to files.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/log_times.h"
#include "launcher/logger/logger.h"

namespace gantry::logger {
namespace {
const char* const kNames[] = {"stdout", "stderr"};

// What will be otherwise later: no room, no descriptors, no memory.
bool is_full(int error) {
  return error == ENOSPC || error == EDQUOT || error == EIO || error == EMFILE || error == ENFILE ||
         error == ENOMEM;
}

// SAFETY: the sandbox may be the tenant's to write to: no link is followed, and what is there must
// be a regular file, or its output is discarded. A descriptor or -errno.
int open_regular(const char* directory, const char* name, int flags, struct stat* st) {
  int at = ::open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (at < 0) return -errno;
  int fd = openat(
      at, name, flags | O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
  int error = errno;
  close(at);
  if (fd < 0) return -error;
  if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
  close(fd);
  return -EINVAL;
}
}  // namespace

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
}

int Logger::open_file(Entry& entry, int which) {
  struct stat st;
  int fd = open_regular(entry.directory, kNames[which], 0, &st);
  if (fd < 0) return fd;
  entry.streams[which].size = static_cast<uint64_t>(st.st_size);
  entry.streams[which].size_known = true;
  return fd;
}

void Logger::learn_size(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  if (stream.size_known) return;
  stream.size_known = true;
  int directory = ::open(entry.directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return;
  struct stat st;
  if (fstatat(directory, kNames[which], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
    stream.size = static_cast<uint64_t>(st.st_size);
  }
  close(directory);
}

// A place for the next bytes, if there are any. False when the pipe is empty.
bool Logger::ensure_file(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  if (stream.file >= 0 || stream.is_discarding) return true;
  int waiting = 0;
  if (ioctl(stream.pipe, FIONREAD, &waiting) != 0 || waiting == 0) {
    pollfd p = {stream.pipe, POLLIN, 0};
    if (poll(&p, 1, 0) <= 0) return false;
    // Its end, and nothing was ever written: no file is made. KERNEL: poll looks for bytes before
    // it looks for writers, without a lock: what the last one wrote in between it does not tell.
    if ((p.revents & POLLIN) == 0 &&
        (ioctl(stream.pipe, FIONREAD, &waiting) != 0 || waiting == 0)) {
      return true;
    }
  }
  stream.file = open_file(entry, which);
  if (stream.file < 0) stream.is_discarding = true;
  return true;
}

// ORDER: before the bytes move, so that who reads them finds their time. An entry that no bytes
// follow is superseded by the next.
void Logger::note_time(Entry& entry, int which) {
  Stream& stream = entry.streams[which];
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t now_ns = now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  if (stream.noted_ns <= now_ns && now_ns - stream.noted_ns < kTimesResolutionNs) return;
  if (entry.times == -1) {
    struct stat st;
    const int fd = open_regular(entry.directory, kTimesFile, O_APPEND, &st);
    entry.times = fd < 0 ? -2 : fd;
  }
  if (entry.times < 0) return;
  stream.noted_ns = now_ns;
  const LogTime noted = {now_ns, stream.size << 1 | static_cast<uint64_t>(which)};
  // A full disk: half an entry would shift all that follow.
  if (write(entry.times, &noted, sizeof noted) == sizeof noted) return;
  close_times(entry);
  entry.times = -2;
}

void Logger::close_times(Entry& entry) {
  if (entry.times >= 0) close(entry.times);
  entry.times = -1;
}

// Bytes moved, 0 at the pipe's end, or -errno (-EAGAIN: it is empty).
ssize_t Logger::move_bytes(Stream& stream, size_t limit) {
  char* const buffer = tables_->buffer;
  if (stream.file >= 0) {
    off_t offset = static_cast<off_t>(stream.size);
    ssize_t n = splice(stream.pipe, nullptr, stream.file, &offset, limit, SPLICE_F_NONBLOCK);
    if (n >= 0 || errno != EINVAL) return n < 0 ? -errno : n;
  }
  // Nowhere to put it, or a file system that cannot splice: by way of a buffer.
  pollfd p = {stream.pipe, POLLIN, 0};
  if (poll(&p, 1, 0) <= 0) return -EAGAIN;
  ssize_t n = read(stream.pipe, buffer, sizeof tables_->buffer);
  if (n <= 0) return n < 0 ? -errno : 0;
  for (ssize_t done = 0; stream.file >= 0 && done < n;) {
    ssize_t m = pwrite(stream.file, buffer + done, static_cast<size_t>(n - done),
                       static_cast<off_t>(stream.size) + done);
    if (m > 0) {
      done += m;
    } else if (m < 0 && is_full(errno)) {
      usleep(10'000);
    } else {
      return -errno;
    }
  }
  return n;
}

// Not a byte is dropped for want of room: the pipe fills, the container waits.
void Logger::stall(Stream& stream) {
  if (stream.is_stalled) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, stream.pipe, nullptr);
  stream.is_stalled = true;
  ++stalled_;
}

bool Logger::write_held(uint32_t slot) {
  Entry& entry = tables_->entries[slot];
  Stream& stream = entry.streams[0];
  if (stream.file < 0 && !stream.is_discarding) {
    stream.file = open_file(entry, 0);
    stream.is_discarding = stream.file < 0;
  }
  if (stream.file >= 0) note_time(entry, 0);
  while (entry.held > 0) {
    ssize_t n = static_cast<ssize_t>(entry.held);
    if (stream.file >= 0) {
      n = pwrite(stream.file, tables_->held[slot] + entry.held_from, entry.held,
                 static_cast<off_t>(stream.size));
      if (n < 0 && is_full(errno)) return false;
      if (n > 0) stream.size += static_cast<uint64_t>(n);
      if (n <= 0) {
        close(stream.file);
        stream.file = -1;
        stream.is_discarding = true;
        continue;
      }
    }
    entry.held -= static_cast<uint32_t>(n);
    entry.held_from += static_cast<uint32_t>(n);
  }
  return true;
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
        if (stream.file >= 0) close(stream.file);
        stream.file = -1;
        tell_drained(slot);
        return true;
      }
      entry.held = static_cast<uint32_t>(n);
      entry.held_from = 0;
      moved += static_cast<size_t>(n);
    }
    const uint64_t before = stream.size;
    const bool is_written = write_held(slot);
    is_changed |= stream.size != before;
    if (!is_written) {
      stall(stream);
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
    if (!ensure_file(entry, which)) break;
    if (stream.file >= 0) note_time(entry, which);
    const ssize_t n = move_bytes(stream, limit - moved);
    if (n > 0) {
      moved += static_cast<size_t>(n);
      if (stream.file >= 0) stream.size += static_cast<uint64_t>(n);
      is_changed = true;
    } else if (n == 0) {
      end_stream(slot, which);
      if (stream.file >= 0) close(stream.file);
      stream.file = -1;
      is_changed = true;
    } else if (is_full(static_cast<int>(-n))) {
      stall(stream);
      break;
    } else if (n == -EAGAIN || n == -EINTR) {
      break;
    } else {
      close(stream.file);
      stream.file = -1;
      stream.is_discarding = true;
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
    }
  }
}
}  // namespace gantry::logger
