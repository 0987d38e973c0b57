// One stream of a container's output on disk, over all the files that are kept of it
// (launcher/log_files.h). Positions count from the stream's first byte.
//
// Threads: loop only. SAFETY: tenants may own the sandbox: links are not followed, only regular
// files are read, and what they say of themselves moves the bounds of their own output, nothing
// else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/path_at.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
class OutputFile {
 public:
  // `name`: stdout or stderr.
  OutputFile(std::string sandbox, const char* name);

  // Opens the file that has the byte at `position`, or will have it. Where reading can go on:
  // there, or later when what is between has been removed. nullopt: there is no file.
  Result<std::optional<uint64_t>> seek(uint64_t position);

  // Of the file that seek() opened: where it begins and, now, ends.
  uint64_t begin() const { return begin_; }
  Result<uint64_t> end() const;
  // Its descriptor; -1: seek() has opened none. It stays the same file, whatever it is called
  // later.
  int descriptor() const { return file_.get(); }
  bool is_same_as(int descriptor) const;
  // At most `most` bytes of it, fewer at its end.
  Result<std::string> read(uint64_t position, size_t most) const;

 private:
  Result<std::optional<uint64_t>> locate(uint64_t position);
  // The stream still goes to the open file, as far as can be seen.
  bool is_current() const;

  std::string sandbox_;
  const char* name_;
  UniqueFd file_;
  uint64_t begin_ = 0;
};
}  // namespace gantry
