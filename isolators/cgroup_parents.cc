#include "isolators/cgroup_parents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "isolators/container_cgroups.h"

namespace gantry {
namespace cgroup_parents {
Result<void> ensure(int root_fd, const std::string& path) {
  if (::mkdirat(root_fd, path.c_str(), S_ISVTX | 0755) == 0) return {};
  if (errno != EEXIST) return Error::from_errno(errno, cat("create cgroup ", path));
  if (S_ISDIR(GANTRY_TRY(sys::stat_at(root_fd, path.c_str())).st_mode)) return {};
  return Error(Errc::invalid, cat("cgroup_parent: ", path, " is a file of the kernel's"));
}

void remove_unused(int root_fd, const std::string& path) {
  const auto stat = sys::stat_at(root_fd, path.c_str());
  if (stat && (stat->st_mode & S_ISVTX) != 0) ::unlinkat(root_fd, path.c_str(), AT_REMOVEDIR);
}

Result<Found> find(int root_fd) {
  Found out;
  std::vector<std::string> left = {"parents"};
  while (!left.empty()) {
    const std::string path = std::move(left.back());
    left.pop_back();
    for (const std::string& name : GANTRY_TRY(cgroup::children_at(root_fd, path))) {
      std::string inner = cat(path, "/", name);
      if (name.starts_with('@')) {
        out.containers.push_back(std::move(inner));
      } else {
        out.parents.push_back(inner);
        left.push_back(std::move(inner));
      }
    }
  }
  return out;
}
}  // namespace cgroup_parents

Result<void> ContainerCgroups::create_parents(const Hierarchy& hierarchy,
                                              const std::string& parent) {
  std::string path(kParents);
  for (const std::string_view name : split(parent, '/')) {
    path += cat("/", name);
    GANTRY_TRY(cgroup_parents::ensure(hierarchy.root.get(), path));
    if (!hierarchy.is_v2) continue;
    // KERNEL: with processes in it some controllers can be enabled, and it then takes neither the
    // others nor a process below.
    const std::string own = GANTRY_TRY(cgroup::read_at(hierarchy.root.get(), path, "cgroup.procs"));
    if (!own.empty()) {
      return Error(Errc::conflict,
                   cat("cgroup_parent: ", hierarchy.root_path, "/", path,
                       " has processes of its own, which cgroup2 allows only in cgroups below it: "
                       "move pid ",
                       split(own, '\n')[0]));
    }
    GANTRY_TRY(enable_controllers(hierarchy.root.get(), path));
  }
  return {};
}

std::string ContainerCgroups::parent_place(const std::string& name) const {
  if (name.starts_with('/')) return name.substr(1, name.rfind('/') - 1);
  const auto group = groups_.find(name);
  if (group == groups_.end() || group->second.parent.empty()) return {};
  return cat(kParents, "/", group->second.parent);
}

void ContainerCgroups::remove_parents(std::string path) {
  for (; path.size() > kParents.size(); path.resize(path.rfind('/'))) {
    for (const Hierarchy& hierarchy : hierarchies_) {
      cgroup_parents::remove_unused(hierarchy.root.get(), path);
    }
  }
}

Result<void> ContainerCgroups::remove_unused_parents() {
  for (const Hierarchy& hierarchy : hierarchies_) {
    const auto found = GANTRY_TRY(cgroup_parents::find(hierarchy.root.get()));
    for (auto path = found.parents.rbegin(); path != found.parents.rend(); ++path) {
      cgroup_parents::remove_unused(hierarchy.root.get(), *path);
    }
  }
  return {};
}

bool ContainerCgroups::is_poolable(const std::string& name) const {
  return name.find('/') == name.npos && parent_place(name).empty();
}
}  // namespace gantry
