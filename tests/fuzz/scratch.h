// A directory for what a fuzz target reads from a file, gone with the process.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <string>

namespace gantry {
class Scratch {
 public:
  // `file`: the one that will be in it.
  explicit Scratch(const char* file) : file_(file) {
    char name[] = "/tmp/gantry-fuzz.XXXXXX";
    if (::mkdtemp(name) == nullptr) ::abort();
    path_ = name;
  }
  ~Scratch() {
    ::unlink((path_ + "/" + file_).c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_, file_;
};
}  // namespace gantry
