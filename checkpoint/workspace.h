// Workspace: what one CRIU process writes beside the images, in memory and mounted nowhere on the
// host: its log, and its /run with the probe of the kernel.
//
// A tmpfs held by descriptor: a full disk does not cost the reason of a failure, and nothing is
// left behind whoever dies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/plan.h"

namespace gantry {
class Workspace {
 public:
  static Result<Workspace> make();
  // For CRIU's work_dir_fd.
  int directory() const { return tmpfs_.get(); }
  // Errc: ENOENT when CRIU did not get as far as having one.
  Result<std::string> read(const char* name) const;
  Result<void> write(const char* name, std::string_view bytes) const;
  Result<void> add_program(const UniqueFd& program, const char* name) const;
  // Makes it the /run of a child that has a mount namespace of its own. What `paths` name below
  // /run stays in sight. False: it cannot be (one of them is /run itself, or above), /run stays.
  Result<bool> become_run(LaunchPlan::Builder& plan, const std::vector<std::string>& paths) const;

 private:
  explicit Workspace(UniqueFd tmpfs) : tmpfs_(std::move(tmpfs)) {}
  UniqueFd tmpfs_;
};

// CRIU's probe of the kernel (30 ms), kept from one of its processes for the next. CRIU looks for
// it in /run/criu.kdat and trusts it only on a tmpfs, which /run need not be.
class KernelProbe {
 public:
  // `path`: where it is kept over the executor's life, below the runtime directory. Empty: nowhere.
  explicit KernelProbe(std::string path) : path_(std::move(path)) {}
  // A probe made by another kernel or another program is not given.
  void give(const Workspace& workspace, const std::string& program);
  void take(const Workspace& workspace, const std::string& program);

 private:
  std::string path_;
  std::string made_by_, bytes_;  // of the last one; read from `path_` when first asked for
};
}  // namespace gantry
