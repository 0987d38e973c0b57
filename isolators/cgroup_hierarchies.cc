// ContainerCgroups' hierarchies: each is opened once, ROOT is made in it and removed at the end,
// and controllers are found in them. What happens below ROOT/containers: container_cgroups.cc.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/sys.h"
#include "isolators/container_cgroups.h"

namespace gantry {
namespace {
// Values of these a next user of the directory would not see: no counters but of the present.
constexpr std::string_view kReusable[] = {"cpuset",  "devices",  "freezer", "pids",
                                          "net_cls", "net_prio", "hugetlb", "name=systemd"};

std::string join_names(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return out;
}

std::string with_prefix(std::string_view prefix, std::string_view path) {
  return prefix == "/" ? std::string(path) : cat(prefix, path);
}

// KERNEL: a new v1 cpuset has no cpus and no memory nodes, and no task can enter it, unless the
// parent's clone_children says that new ones begin with its own values.
Result<void> prepare_cpuset(int dir_fd, const std::string& path) {
  for (std::string_view file : {"cpuset.cpus", "cpuset.mems"}) {
    const std::string own = GANTRY_TRY(cgroup::read_at(dir_fd, path, file));
    if (!trim(own).empty()) continue;
    const size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
    const std::string value = GANTRY_TRY(cgroup::read_at(dir_fd, parent, file));
    GANTRY_TRY(cgroup::write_at(dir_fd, path, file, trim(value)));
  }
  return cgroup::write_at(dir_fd, path, "cgroup.clone_children", "1");
}

// No inner node of v2 may hold processes (the root excepted): ours, if we were started in the
// cgroup that becomes the parent of ROOT, go into a leaf beside it.
Result<void> leave_inner_node(int dir_fd) {
  GANTRY_TRY(cgroup::ensure_at(dir_fd, "supervisor"));
  const std::string text = GANTRY_TRY(cgroup::read_at(dir_fd, "", "cgroup.procs"));
  for (pid_t pid : parse_pids(text)) {
    auto moved = cgroup::write_at(dir_fd, "supervisor", "cgroup.procs", cat(pid));
    if (!moved && !moved.error().is_errno(ESRCH)) return moved;
  }
  return {};
}
}  // namespace

ContainerCgroups::ContainerCgroups(asio::any_io_executor executor, CgroupLayout layout,
                                   Options options)
    : executor_(executor),
      layout_(std::move(layout)),
      options_(std::move(options)),
      later_(std::move(executor)) {}
ContainerCgroups::~ContainerCgroups() = default;

Result<void> ContainerCgroups::enable_controllers(int dir_fd, const std::string& path) {
  const std::string offered = GANTRY_TRY(cgroup::read_at(dir_fd, path, "cgroup.controllers"));
  const std::string enabled = GANTRY_TRY(cgroup::read_at(dir_fd, path, "cgroup.subtree_control"));
  for (std::string_view name : split(trim(offered), ' ')) {
    if (name.empty() || std::ranges::count(split(trim(enabled), ' '), name) != 0) continue;
    auto done = cgroup::write_at(dir_fd, path, "cgroup.subtree_control", cat("+", name));
    // KERNEL: EBUSY where processes live in an inner node; the caller has to move them first.
    if (!done && done.error().is_errno(EBUSY)) return std::move(done).error();
  }
  return {};
}

Result<ContainerCgroups::Hierarchy> ContainerCgroups::open_hierarchy(const CgroupHierarchy& mounted,
                                                                     const std::string& own) const {
  const bool below_own = options_.base == Options::Base::own_cgroup && own != "/";
  const std::string base = below_own ? mounted.path + own : mounted.path;
  const UniqueFd base_fd = GANTRY_TRY(sys::open(base, O_PATH | O_DIRECTORY));
  std::string path;
  if (mounted.is_v2) {
    auto enabled = enable_controllers(base_fd.get(), "");
    if (!enabled && enabled.error().is_errno(EBUSY)) {
      GANTRY_TRY(leave_inner_node(base_fd.get()));
      enabled = enable_controllers(base_fd.get(), "");
    }
    GANTRY_TRY(std::move(enabled).context("cgroup ", base));
  }
  const auto ensure = [&](const std::string& at) -> Result<void> {
    GANTRY_TRY(cgroup::ensure_at(base_fd.get(), at).context("in ", base));
    if (mounted.is_v2) return enable_controllers(base_fd.get(), at);
    if (!mounted.has("cpuset")) return {};
    return prepare_cpuset(base_fd.get(), at).context("in ", base);
  };
  for (std::string_view part : split(options_.root, '/')) {
    if (part.empty()) continue;
    path += (path.empty() ? "" : "/") + std::string(part);
    GANTRY_TRY(ensure(path));
  }
  const std::string containers = cat(path, "/", kContainers);
  GANTRY_TRY(ensure(containers));
  GANTRY_TRY(ensure(cat(path, "/", kParents)));
  Hierarchy out;
  out.is_v2 = mounted.is_v2;
  out.controllers = mounted.controllers;
  if (mounted.is_v2) {
    const std::string text =
        GANTRY_TRY(cgroup::read_at(base_fd.get(), containers, "cgroup.subtree_control"));
    out.controllers.clear();
    for (std::string_view name : split(trim(text), ' ')) {
      if (!name.empty()) out.controllers.emplace_back(name);
    }
  }
  out.key = mounted.is_v2 ? "" : join_names(mounted.controllers);
  out.root_path = cat(base, options_.root);
  out.proc_prefix = cat(with_prefix(mounted.mount_root, below_own ? own : ""), options_.root);
  out.root = GANTRY_TRY(sys::open_at(base_fd.get(), path.c_str(), O_PATH | O_DIRECTORY));
  out.containers =
      GANTRY_TRY(sys::open_at(base_fd.get(), containers.c_str(), O_PATH | O_DIRECTORY));
  return out;
}

Result<std::unique_ptr<ContainerCgroups>> ContainerCgroups::open(asio::any_io_executor executor,
                                                                 CgroupLayout layout,
                                                                 Options options) {
  if (options.root.empty() || options.root[0] != '/' || options.root.back() == '/' ||
      options.root.find("..") != std::string::npos) {
    return Error(Errc::invalid, cat("cgroup-root '", options.root,
                                    "': an absolute path such as /gantry is needed"));
  }
  if (layout.hierarchies().empty()) {
    return Error(Errc::unsupported,
                 "no cgroup hierarchy is mounted: mount cgroup2 on "
                 "/sys/fs/cgroup");
  }
  auto self = parse_proc_cgroup(GANTRY_TRY(sys::read_file("/proc/self/cgroup")));
  std::unique_ptr<ContainerCgroups> out(
      new ContainerCgroups(executor, std::move(layout), std::move(options)));
  std::vector<CgroupPool::Parent> parents;
  for (const CgroupHierarchy& mounted : out->layout_.hierarchies()) {
    const std::string key = mounted.is_v2 ? "" : join_names(mounted.controllers);
    const auto own = self.find(key);
    Hierarchy hierarchy =
        GANTRY_TRY(out->open_hierarchy(mounted, own == self.end() ? "/" : own->second));
    if (!hierarchy.is_v2) {
      GANTRY_TRY(CgroupPool::sweep(hierarchy.containers.get()));
      CgroupPool::Parent parent;
      parent.containers_fd = hierarchy.containers.get();
      parent.is_reusable = std::ranges::all_of(mounted.controllers, [](const std::string& name) {
        return std::ranges::find(kReusable, name) != std::end(kReusable);
      });
      for (const CgroupDefault& value : out->options_.v1_defaults) {
        if (mounted.has(value.controller)) parent.defaults.push_back(value);
      }
      parents.push_back(std::move(parent));
    } else {
      parents.emplace_back();  // keeps indices level with hierarchies_; never asked
    }
    out->hierarchies_.push_back(std::move(hierarchy));
  }
  out->pool_ = std::make_unique<CgroupPool>(executor, std::move(parents), out->options_.pool_size);
  return out;
}

const ContainerCgroups::Hierarchy* ContainerCgroups::find(std::string_view controller) const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (std::ranges::find(hierarchy.controllers, controller) != hierarchy.controllers.end()) {
      return &hierarchy;
    }
  }
  return nullptr;
}

bool ContainerCgroups::is_v2(std::string_view controller) const {
  const Hierarchy* hierarchy = find(controller);
  return hierarchy != nullptr && hierarchy->is_v2;
}

Result<const ContainerCgroups::Hierarchy*> ContainerCgroups::need(
    std::string_view controller) const {
  const Hierarchy* hierarchy = find(controller);
  if (hierarchy != nullptr) return hierarchy;
  return Error(Errc::unsupported, cat("this host has no ", controller,
                                      " cgroup controller (`gantry doctor` shows "
                                      "which there are)"));
}

Result<void> ContainerCgroups::move_to_launcher_group(pid_t pid) {
  for (const Hierarchy& hierarchy : hierarchies_) {
    const UniqueFd root = GANTRY_TRY(sys::open(hierarchy.root_path, O_PATH | O_DIRECTORY));
    GANTRY_TRY(cgroup::ensure_at(root.get(), "launcher"));
    if (std::ranges::find(hierarchy.controllers, "cpuset") != hierarchy.controllers.end() &&
        !hierarchy.is_v2) {
      GANTRY_TRY(prepare_cpuset(root.get(), "launcher"));
    }
    GANTRY_TRY(cgroup::write_at(root.get(), "launcher", "cgroup.procs", cat(pid)));
  }
  return {};
}

void ContainerCgroups::destroy_later(std::string name) {
  if (stuck_.insert(name).second) later_.spawn(destroy_patiently(std::move(name)));
}

Co<void> ContainerCgroups::destroy_patiently(std::string name) {
  Duration pause = std::chrono::seconds(1);
  while (!co_await is_cancelled()) {
    co_await sleep_for(pause);
    if (co_await is_cancelled()) break;
    if (co_await destroy(name, std::chrono::seconds(1))) {
      stuck_.erase(name);
      break;
    }
    pause = std::min<Duration>(pause * 2, std::chrono::seconds(30));
  }
}

Co<Result<void>> ContainerCgroups::close() {
  co_await later_.close();
  for (const std::string& name : std::exchange(stuck_, {})) {
    (co_await destroy(name, std::chrono::milliseconds(50))).ignore("the next recovery tries it");
  }
  co_await pool_->close();
  for (Hierarchy& hierarchy : hierarchies_) {
    for (const std::string& path :
         {cat(hierarchy.root_path, "/", kContainers), cat(hierarchy.root_path, "/", kParents),
          cat(hierarchy.root_path, "/launcher"), hierarchy.root_path}) {
      // Busy while containers or the launcher are in it: then it stays.
      ::unlinkat(AT_FDCWD, path.c_str(), AT_REMOVEDIR);
    }
  }
  co_return Result<void>();
}
}  // namespace gantry
