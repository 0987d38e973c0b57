// RotatingFile: a file of lines that goes on in a new one before it is larger than a size. The
// former is FILE.1, the one before it FILE.2, and so on. A line that the disk does not take is lost
// and counted, and takes no room of the others; the next that is written comes after one that says
// how many were lost.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
struct FileLimits {
  uint64_t max_size = 0;  // of a file; 0: any
  int max_files = 1;      // with the current one
};

// How much of it was taken without waiting, or -1 and errno.
ssize_t write_without_waiting(int fd, std::string_view line);

class RotatingFile {
 public:
  // The line that says how many were lost.
  using SayLost = std::string (*)(uint64_t lines);
  RotatingFile(std::string path, FileLimits limits, SayLost say_lost)
      : path_(std::move(path)), limits_(limits), say_lost_(say_lost) {}
  Result<void> open();
  bool is_open() const { return static_cast<bool>(file_); }

  // To stderr, where it is not open. An errno where the line is lost: it has to be written without
  // waiting for a disk or reader.
  int write_line(std::string_view line);
  uint64_t lost() const { return lost_; }  // lines not said yet

 private:
  void make_room(size_t bytes);
  void rotate();
  int write_now(std::string_view text);
  void cut_back(size_t bytes);

  std::string path_;
  FileLimits limits_;
  SayLost say_lost_;
  UniqueFd file_;
  uint64_t size_ = 0;  // written, as far as known
  uint64_t lost_ = 0;
  bool is_torn_ = false;  // it ends with a part of a line
};
}  // namespace gantry
