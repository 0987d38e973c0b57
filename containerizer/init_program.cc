#include "containerizer/init_program.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sealed_program.h"
#include "base/sys.h"
#include "base/tmpfs.h"

namespace gantry {
namespace {
constexpr char kName[] = "gantry-init";

// The file system itself, not just this mount of it: a bind of it can be no more than that.
Result<void> make_read_only(const UniqueFd& tmpfs) {
  const UniqueFd context(
      static_cast<int>(::syscall(SYS_fspick, tmpfs.get(), "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC)));
  const bool is_done =
      context && ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) == 0 &&
      ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) == 0;
  if (!is_done) return Error::from_errno(errno, "make a tmpfs read-only");
  return {};
}
}  // namespace

InitProgram::InitProgram(std::string installed, UniqueFd sealed, std::string directory)
    : installed_(std::move(installed)),
      sealed_(std::move(sealed)),
      directory_(std::move(directory)),
      mounted_(cat(directory_, "/", kName)) {}

Result<InitProgram> InitProgram::open(const std::string& path, const std::string& runtime_dir) {
  UniqueFd sealed = GANTRY_TRY(seal_program(path));
  const std::string build = GANTRY_TRY(build_of(sealed));
  return InitProgram(path, std::move(sealed), cat(runtime_dir, "/init/", build));
}

Result<void> InitProgram::ensure_mounted() {
  if (is_mounted_) return {};
  // Mounted whole: where the file is, all is.
  if (::access(mounted_.c_str(), X_OK) != 0) GANTRY_TRY(mount().context("gantry-init"));
  is_mounted_ = true;
  return {};
}

Result<void> InitProgram::mount() const {
  GANTRY_TRY(sys::ensure_directories(directory_, 0755));
  UniqueFd tmpfs = GANTRY_TRY(make_tmpfs({{"source", kName}, {"mode", "0755"}}));
  {
    UniqueFd file = GANTRY_TRY(sys::open_at(tmpfs.get(), kName, O_WRONLY | O_CREAT | O_EXCL, 0755));
    GANTRY_TRY(copy_program(sealed_, file.get()));
    if (::fchmod(file.get(), 0755) != 0) return Error::from_errno(errno, "make it a program");
  }
  GANTRY_TRY(make_read_only(tmpfs));
  if (::syscall(SYS_move_mount, tmpfs.get(), "", AT_FDCWD, directory_.c_str(),
                MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return Error::from_errno(errno, cat("mount on ", directory_));
  }
  return {};
}
}  // namespace gantry
