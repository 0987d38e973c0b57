#include "executor/rotating_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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
  return {};
}

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
