#include "executor/rotating_file.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/str.h"
#include "base/sys.h"

namespace gantry {
Result<void> RotatingFile::open() {
  UniqueFd file =
      GANTRY_TRY(sys::open(path_, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct ::stat st;
  if (::fstat(file.get(), &st) != 0) return Error::from_errno(errno, cat("look at ", path_));
  size_ = static_cast<uint64_t>(st.st_size);
  file_ = std::move(file);
  is_torn_ = false;
  return {};
}

ssize_t write_without_waiting(int fd, std::string_view line) {
  pollfd ready = {fd, POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0) {
    return ::write(fd, line.data(), line.size());
  }
  errno = EAGAIN;
  return -1;
}

int RotatingFile::write_line(std::string_view line) {
  // Together: room for the one alone would be taken again and again.
  const std::string text = cat(lost_ == 0 ? std::string() : say_lost_(lost_), line);
  make_room(text.size());
  const int error = write_now(cat(is_torn_ ? "\n" : "", text));
  lost_ = error == 0 ? 0 : lost_ + 1;
  return error;
}

int RotatingFile::write_now(std::string_view text) {
  const ssize_t written = write_without_waiting(file_ ? file_.get() : STDERR_FILENO, text);
  if (written < 0) return errno;
  is_torn_ = false;
  if (static_cast<size_t>(written) == text.size()) {
    size_ += text.size();
    return 0;
  }
  // KERNEL: a regular file takes a part of it only where the disk has no room for more.
  cut_back(static_cast<size_t>(written));
  return ENOSPC;
}

// Of a line's part, so that no other is glued to it. Stderr is not only ours.
void RotatingFile::cut_back(size_t bytes) {
  struct ::stat st;
  is_torn_ = !file_ || ::fstat(file_.get(), &st) != 0 ||
             ::ftruncate(file_.get(), st.st_size - static_cast<off_t>(bytes)) != 0;
  if (is_torn_) size_ += bytes;
}

// Where a new file cannot be had it goes on in the old one.
void RotatingFile::make_room(size_t bytes) {
  if (file_ && limits_.max_size != 0 && size_ != 0 && size_ + bytes > limits_.max_size) rotate();
}

void RotatingFile::rotate() {
  size_ = 0;  // tried again after as much again
  if (limits_.max_files == 1 && ::ftruncate(file_.get(), 0) != 0) return;
  for (int number = limits_.max_files - 1; number > 0; --number) {
    const std::string from = number == 1 ? path_ : cat(path_, ".", number - 1);
    ::rename(from.c_str(), cat(path_, ".", number).c_str());
  }
  open().ignore("the renamed one is still open");
}
}  // namespace gantry
