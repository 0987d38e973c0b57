#include <linux/capability.h>
#include <sys/mount.h>

#include <cerrno>

#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/tree.h"

namespace gantry::worker {
namespace {
constexpr uint64_t kWalk = cap_bit(CAP_DAC_OVERRIDE) | cap_bit(CAP_FOWNER);
constexpr uint64_t kCopy = kWalk | cap_bit(CAP_CHOWN) | cap_bit(CAP_FSETID) | cap_bit(CAP_MKNOD) |
                           cap_bit(CAP_SETFCAP) | cap_bit(CAP_SYS_ADMIN);  // trusted.overlay.*

// Mounts below come along, so that the walk meets them and stops.
Result<UniqueFd> confine_to(int directory, uint64_t capabilities) {
  GANTRY_TRY(enter_root(directory, Below::keep_mounts));
  GANTRY_TRY(limit({.open_files = 8192}));
  UniqueFd root = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(keep_capabilities(capabilities));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  return root;
}

Result<std::string> name_of(const Job& job) {
  std::string name(job.request.get("name"));
  if (job.fds.empty() || name.empty() || name == "." || name == ".." ||
      name.find('/') != std::string::npos) {
    return Error(Errc::invalid, "a tree job needs a directory and a name in it");
  }
  return name;
}
}  // namespace

Result<Fields> remove_job(const Job& job) {
  std::string name = GANTRY_TRY(name_of(job));
  UniqueFd root = GANTRY_TRY(confine_to(job.fds[0], kWalk));
  GANTRY_TRY(remove_tree(root.get(), name));
  return Fields();
}

Result<Fields> empty_job(const Job& job) {
  UniqueFd root = GANTRY_TRY(confine_to(job.fds.at(0), kWalk));
  GANTRY_TRY(empty_directory(root.get()));
  return Fields();
}

Result<Fields> measure_job(const Job& job) {
  std::string name = GANTRY_TRY(name_of(job));
  UniqueFd root = GANTRY_TRY(confine_to(job.fds[0], cap_bit(CAP_DAC_READ_SEARCH)));
  TreeSize size = GANTRY_TRY(measure_tree(root.get(), name));
  Fields answer;
  answer.add_number("bytes", size.bytes);
  answer.add_number("inodes", size.inodes);
  return answer;
}

Result<Fields> copy_job(const Job& job) {
  std::vector<UniqueFd> layers;
  for (size_t i = 1; i < job.fds.size(); ++i) {
    UniqueFd mount(GANTRY_TRY(detach_read_only(job.fds[i])));
    layers.push_back(GANTRY_TRY(sys::open_at(mount.get(), ".", O_RDONLY | O_DIRECTORY)));
  }
  GANTRY_TRY(enter_root(job.fds.at(0), Below::own_file_system));
  GANTRY_TRY(limit({.open_files = 8192}));
  UniqueFd root = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(leave_network());
  GANTRY_TRY(keep_capabilities(kCopy));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  for (const UniqueFd& layer : layers) GANTRY_TRY(copy_layer(layer.get(), root.get()));
  return Fields();
}

Result<Fields> unmount_job(const Job& job) {
  std::string path(job.request.get("path"));
  GANTRY_TRY(keep_capabilities(cap_bit(CAP_SYS_ADMIN)));
  // KERNEL: EINVAL is "not a mount point" (umount2(2)); a dead server is not asked with MNT_DETACH.
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
      errno != ENOENT) {
    return Error::from_errno(errno, cat("unmount ", path));
  }
  return Fields();
}
}  // namespace gantry::worker
