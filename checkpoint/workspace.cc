#include "checkpoint/workspace.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "base/path_at.h"
#include "base/process_ref.h"
#include "base/record_file.h"
#include "base/sealed_program.h"
#include "base/sys.h"
#include "base/tmpfs.h"

namespace gantry {
namespace {
constexpr char kProbe[] = "criu.kdat";
constexpr size_t kMaxLog = 64u << 20;
constexpr size_t kMaxProbe = 1u << 20;

Result<UniqueFd> syscall_fd(long rc, std::string_view what) {
  if (rc < 0) return Error::from_errno(errno, std::string(what));
  return UniqueFd(static_cast<int>(rc));
}

// The host's path with every link resolved: what lies below /run may be named otherwise (/var/run).
std::string real_path(const std::string& path) {
  std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), &::free);
  return real ? std::string(real.get()) : path;
}

Result<UniqueFd> clone_tree(const std::string& path) {
  // KERNEL: AT_RECURSIVE (0x8000) with the mounts below; glibc's fcntl.h of Debian 12 lacks it.
  constexpr unsigned kFlags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | 0x8000;
  return syscall_fd(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), kFlags), cat("open ", path));
}

// What a probe depends on: the boot, and the program that made it.
std::string maker_of(const std::string& program) {
  struct stat st;
  if (::stat(program.c_str(), &st) != 0) return {};
  return cat(boot_id(), " ", st.st_dev, ":", st.st_ino, " ", st.st_size, " ", st.st_mtim.tv_sec,
             ".", st.st_mtim.tv_nsec, " ", program);
}
}  // namespace

Result<Workspace> Workspace::make() {
  return Workspace(GANTRY_TRY(make_tmpfs({{"mode", "0700"}, {"size", "64m"}})));
}

Result<std::string> Workspace::read(const char* name) const {
  return sys::read_file_at(tmpfs_.get(), name, kMaxLog);
}

Result<void> Workspace::write(const char* name, std::string_view bytes) const {
  UniqueFd fd = GANTRY_TRY(sys::open_at(tmpfs_.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::write_all(fd.get(), bytes);
}

Result<void> Workspace::add_program(const UniqueFd& program, const char* name) const {
  UniqueFd fd = GANTRY_TRY(sys::open_at(tmpfs_.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0700));
  return copy_program(program, fd.get()).context(name);
}

Result<bool> Workspace::become_run(LaunchPlan::Builder& plan,
                                   const std::vector<std::string>& paths) const {
  std::vector<std::pair<std::string, UniqueFd>> kept;
  for (const std::string& path : paths) {
    std::string real = real_path(path);
    if (real == "/" || real == "/run") return false;
    if (!real.starts_with("/run/")) continue;
    UniqueFd tree = GANTRY_TRY(clone_tree(real));
    kept.emplace_back(std::move(real), std::move(tree));
  }
  auto bind = [&plan](UniqueFd tree, const std::string& target, uint64_t make) {
    plan.add(Stage::process, {.kind = OpKind::kBind,
                              .fd = plan.fd(std::move(tree)),
                              .s2 = plan.str(target),
                              .b = kBindRecursive | make});
  };
  plan.add(Stage::process, {.kind = OpKind::kRootHost});
  bind(GANTRY_TRY(sys::duplicate(tmpfs_.get())), "/run", 0);
  for (auto& [path, tree] : kept) bind(std::move(tree), path, kBindMakeFile | kBindMakeDirectory);
  return true;
}

void KernelProbe::give(const Workspace& workspace, const std::string& program) {
  if (bytes_.empty() && !path_.empty()) {
    // The first line says who made it.
    std::string kept = read_record(AT_FDCWD, path_.c_str()).value_or(std::string());
    size_t end = kept.find('\n');
    if (end != std::string::npos) {
      made_by_ = kept.substr(0, end);
      bytes_ = kept.substr(end + 1);
    }
  }
  if (bytes_.empty() || made_by_ != maker_of(program)) return;
  workspace.write(kProbe, bytes_).ignore("CRIU then looks for itself");
}

void KernelProbe::take(const Workspace& workspace, const std::string& program) {
  Result<std::string> made = sys::read_file_at(workspace.directory(), kProbe, kMaxProbe);
  if (!made || made->empty()) return;
  std::string maker = maker_of(program);
  if (*made == bytes_ && maker == made_by_) return;
  made_by_ = std::move(maker);
  bytes_ = std::move(*made);
  if (path_.empty()) return;
  size_t slash = path_.rfind('/');
  Result<DirFd> directory = DirFd::open(path_.substr(0, slash));
  if (!directory) return;
  write_record(directory->get(), path_.substr(slash + 1), cat(made_by_, "\n", bytes_),
               Durability::memory)
      .ignore("the next executor's first checkpoint takes 30 ms longer");
}
}  // namespace gantry
