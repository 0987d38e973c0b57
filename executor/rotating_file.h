// RotatingFile: a file of lines that goes on in a new one before it is larger than a size. The
// former is FILE.1, the one before it FILE.2, and so on.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
struct FileLimits {
  uint64_t max_size = 0;  // of a file; 0: any
  int max_files = 1;      // with the current one
};

class RotatingFile {
 public:
  RotatingFile(std::string path, FileLimits limits) : path_(std::move(path)), limits_(limits) {}
  Result<void> open();

  // -1: it is not open.
  int fd() const { return file_.get(); }
  // Called before each line. Where a new file cannot be had it goes on in the old one.
  void make_room(size_t bytes);
  void wrote(size_t bytes) { size_ += bytes; }

 private:
  void rotate();

  std::string path_;
  FileLimits limits_;
  UniqueFd file_;
  uint64_t size_ = 0;
};
}  // namespace gantry
