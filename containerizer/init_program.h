// gantry-init as containers get it: from a read-only tmpfs that holds nothing else, one for each
// build, so that the file a container runs is neither what is installed nor writable by anybody.
// (A sealed memfd cannot be mounted, and CRIU cannot restore a process that runs from one.)
//
// Mounted for the first container that asks for it, below the runtime directory, with which it
// goes.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
class InitProgram {
 public:
  // `path`: of the installed file, which is read here.
  static Result<InitProgram> open(const std::string& path, const std::string& runtime_dir);
  // For containers on the host's own root, who see the installed one.
  const std::string& installed() const { return installed_; }
  // There once ensure_mounted() has succeeded, of this executor or of one of the same build.
  const std::string& mounted() const { return mounted_; }
  Result<void> ensure_mounted();

 private:
  InitProgram(std::string installed, UniqueFd sealed, std::string directory);
  Result<void> mount() const;

  std::string installed_;
  UniqueFd sealed_;
  std::string directory_, mounted_;
  bool is_mounted_ = false;
};
}  // namespace gantry
