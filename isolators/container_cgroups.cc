#include "isolators/container_cgroups.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/failpoint.h"
#include "base/sys.h"
#include "isolators/cgroup_parents.h"

namespace gantry {
namespace {
bool is_nested(std::string_view name) {
  return !name.starts_with('/') && name.find('/') != name.npos;
}
// "ID/n/CHILD": "ID/n" and "ID".
std::string above(const std::string& name) { return name.substr(0, name.rfind('/')); }
std::string parent_of(const std::string& name) { return above(above(name)); }
std::string outermost_of(const std::string& name) { return name.substr(0, name.find('/')); }
// Of two or three containers.
constexpr size_t kMostKeptJoins = 32;
}  // namespace

std::string ContainerCgroups::name_of(const ContainerId& id) {
  if (id.parent() == nullptr) return id.directory_name();
  return cat(name_of(*id.parent()), "/n/", id.directory_name());
}

// ---- Launch ------------------------------------------------------------------------------------

Result<void> ContainerCgroups::create_v1(size_t index, const std::string& name,
                                         LaunchPlan::Builder& plan) {
  const Hierarchy& hierarchy = hierarchies_[index];
  const int fd = hierarchy.root.get();
  const std::string path = place(hierarchy, name);
  if (is_nested(name)) {
    // It begins with its parent's values, which may be narrower than the defaults.
    if (has_own(hierarchy, name)) GANTRY_TRY(cgroup::create_at(fd, path));
    return join_v1(hierarchy, name, plan);
  }
  std::optional<UniqueFd> tasks;
  if (is_poolable(name)) tasks = GANTRY_TRY(pool_->take(index, name));
  if (tasks) {
    plan.add(Stage::cgroups, {.kind = OpKind::kJoinCgroup, .fd = plan.fd(std::move(*tasks))});
    return {};
  }
  GANTRY_TRY(cgroup::create_at(fd, path));
  for (const CgroupDefault& value : pool_->defaults(index)) {
    GANTRY_TRY(apply_default(fd, path, value));
  }
  return join_v1(hierarchy, name, plan);
}

Result<void> ContainerCgroups::join_v1(const Hierarchy& hierarchy, const std::string& name,
                                       LaunchPlan::Builder& plan) {
  UniqueFd tasks = GANTRY_TRY(open_join(hierarchy, name));
  plan.add(Stage::cgroups, {.kind = OpKind::kJoinCgroup, .fd = plan.fd(std::move(tasks))});
  return {};
}

Result<UniqueFd> ContainerCgroups::open_join(const Hierarchy& hierarchy, const std::string& name) {
  const std::string path = place(hierarchy, name);
  if (has_own(hierarchy, name)) return cgroup::open_join_at(hierarchy.root.get(), path, false);
  const auto key = std::pair(&hierarchy, outermost_of(name));
  auto kept = kept_joins_.find(key);
  if (kept == kept_joins_.end()) {
    if (kept_joins_.size() >= kMostKeptJoins) kept_joins_.clear();
    UniqueFd opened = GANTRY_TRY(cgroup::open_join_at(hierarchy.root.get(), path, false));
    kept = kept_joins_.emplace(key, std::move(opened)).first;
  }
  return sys::duplicate(kept->second.get());
}

Result<void> ContainerCgroups::create_v2(const Hierarchy& hierarchy, const std::string& name,
                                         LaunchPlan::Builder& plan) {
  const int fd = hierarchy.root.get();
  GANTRY_TRY(cgroup::create_at(fd, place(hierarchy, name)));
  const std::string birthplace = cat(place(hierarchy, name), leaf(hierarchy, name));
  if (!is_nested(name)) GANTRY_TRY(cgroup::create_at(fd, birthplace));
  plan.set_cgroup_fd(
      plan.fd(GANTRY_TRY(sys::open_at(fd, birthplace.c_str(), O_PATH | O_DIRECTORY))));
  return {};
}

Result<void> ContainerCgroups::create_all(const std::string& name, LaunchPlan::Builder& plan) {
  if (const std::string& parent = groups_[name].parent; !parent.empty()) {
    for (const Hierarchy& hierarchy : hierarchies_) GANTRY_TRY(create_parents(hierarchy, parent));
    GANTRY_FAILPOINT_TRY("launch.after_cgroup_parents");
  }
  for (size_t i = 0; i < hierarchies_.size(); ++i) {
    const Hierarchy& hierarchy = hierarchies_[i];
    // Stays as long as the container does.
    if (is_nested(name) && has_own(hierarchy, name)) {
      GANTRY_TRY(cgroup::ensure_at(hierarchy.root.get(), above(place(hierarchy, name))));
    }
    GANTRY_TRY(hierarchy.is_v2 ? create_v2(hierarchy, name, plan) : create_v1(i, name, plan));
  }
  return {};
}

Result<void> ContainerCgroups::create(const std::string& name, LaunchPlan::Builder& plan,
                                      const std::string& parent) {
  if (groups_.contains(name)) return Error(Errc::already_exists, cat("cgroup ", name, " exists"));
  groups_[name].freezer_v2 = layout_.unified() != nullptr;
  groups_[name].parent = parent;
  // One that others were made in is not as new.
  if (auto outer = groups_.find(parent_of(name)); is_nested(name) && outer != groups_.end()) {
    outer->second.may_recycle = false;
  }
  auto done = create_all(name, plan);
  // One that was there before us, under the same name, is not ours to remove.
  if (!done && !done.error().is(Errc::already_exists)) {
    try_remove_all(name).ignore("the creation failed already; recovery removes orphans");
  }
  if (!done) {
    remove_parents(parent_place(name));
    groups_.erase(name);
  }
  return done;
}

bool ContainerCgroups::has_own(const Hierarchy& hierarchy, const std::string& name) const {
  return !is_nested(name) || &hierarchy == freezer(name);
}

const char* ContainerCgroups::leaf(const Hierarchy& hierarchy, const std::string& name) {
  return hierarchy.is_v2 && !is_nested(name) ? "/0" : "";
}

std::string ContainerCgroups::place(const Hierarchy& hierarchy, const std::string& name) const {
  if (name.starts_with('/')) return name.substr(1);
  if (!has_own(hierarchy, name)) return place(hierarchy, outermost_of(name));
  const size_t slash = std::min(name.find('/'), name.size());
  std::string top = name.substr(0, slash);
  const auto group = groups_.find(top);
  const bool is_known = group != groups_.end();
  if (is_known && hierarchy.is_v2 && !group->second.v2_name.empty()) top = group->second.v2_name;
  const std::string path = is_known && !group->second.parent.empty()
                               ? cat(kParents, "/", group->second.parent, "/@", top)
                               : cat(kContainers, "/", top);
  return path + name.substr(slash);
}

Result<void> ContainerCgroups::take_over(const std::string& from, const std::string& name) {
  if (groups_.contains(name)) return Error(Errc::already_exists, cat("cgroup ", name, " exists"));
  if (!groups_.contains(from)) return Error(Errc::not_found, cat("no cgroup ", from));
  GANTRY_TRY(rename_v1(from, name));
  auto node = groups_.extract(from);
  node.key() = name;
  node.mapped().v2_name = from;
  groups_.insert(std::move(node));
  return {};
}

Result<void> ContainerCgroups::rename_v1(const std::string& from, const std::string& name) {
  for (auto it = hierarchies_.begin(); it != hierarchies_.end(); ++it) {
    const int fd = it->containers.get();
    if (it->is_v2 || ::renameat(fd, from.c_str(), fd, name.c_str()) == 0) continue;
    Error error = Error::from_errno(errno, cat("name the ", it->key, " cgroup ", name));
    while (it != hierarchies_.begin()) {
      const int back = (--it)->containers.get();
      if (!it->is_v2) ::renameat(back, name.c_str(), back, from.c_str());
    }
    return error;
  }
  return {};
}

Result<void> ContainerCgroups::join(const std::string& name, LaunchPlan::Builder& plan) {
  for (const Hierarchy& hierarchy : hierarchies_) {
    const int fd = hierarchy.root.get();
    if (hierarchy.is_v2) {
      const std::string path = cat(place(hierarchy, name), leaf(hierarchy, name));
      plan.set_cgroup_fd(plan.fd(GANTRY_TRY(sys::open_at(fd, path.c_str(), O_PATH | O_DIRECTORY))));
    } else {
      GANTRY_TRY(join_v1(hierarchy, name, plan));
    }
  }
  return {};
}

Result<std::string> ContainerCgroups::missing_in(const std::string& name, pid_t pid) const {
  const auto where =
      parse_proc_cgroup(GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/cgroup"), 64u << 10)));
  for (const Hierarchy& hierarchy : hierarchies_) {
    const auto line = where.find(hierarchy.key);
    const std::string wanted =
        cat(hierarchy.proc_prefix, "/", place(hierarchy, name), leaf(hierarchy, name));
    if (line == where.end() || line->second != wanted) {
      return hierarchy.key.empty() ? std::string("cgroup2") : hierarchy.key;
    }
  }
  return std::string();
}

Co<Result<void>> ContainerCgroups::verify(std::string name, pid_t pid, Duration limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  Duration pause = std::chrono::microseconds(20);
  while (true) {
    const std::string missing = GANTRY_CO_TRY(missing_in(name, pid));
    if (missing.empty()) co_return Result<void>();
    if (std::chrono::steady_clock::now() >= end) {
      co_return Error(Errc::timed_out, cat("pid ", pid, " did not enter its ", missing, " cgroup"));
    }
    co_await sleep_for(pause);
    pause = std::min<Duration>(pause * 2, std::chrono::milliseconds(20));
  }
}

Result<void> ContainerCgroups::verify_membership(const ContainerId& id, pid_t pid) const {
  const std::string missing = GANTRY_TRY(missing_in(name_of(id), pid));
  if (missing.empty()) return {};
  return Error(Errc::conflict, cat("pid ", pid, " is not in its ", missing, " cgroup"));
}

void ContainerCgroups::refill_pool() { pool_->refill(); }

void ContainerCgroups::allow_recycling(const std::string& name) {
  if (auto group = groups_.find(name); group != groups_.end()) group->second.may_recycle = true;
}

// ---- Files -------------------------------------------------------------------------------------

Result<std::string> ContainerCgroups::read(const std::string& name, std::string_view controller,
                                           std::string_view file) const {
  const Hierarchy* hierarchy = GANTRY_TRY(need(controller));
  return cgroup::read_at(hierarchy->root.get(), place(*hierarchy, name), file);
}

Result<uint64_t> ContainerCgroups::read_number(const std::string& name, std::string_view controller,
                                               std::string_view file) const {
  const Hierarchy* hierarchy = GANTRY_TRY(need(controller));
  return cgroup::read_number_at(hierarchy->root.get(), place(*hierarchy, name), file);
}

Result<void> ContainerCgroups::write(const std::string& name, std::string_view controller,
                                     std::string_view file, std::string_view value) {
  const Hierarchy* hierarchy = GANTRY_TRY(need(controller));
  if (auto group = groups_.find(name); group != groups_.end()) {
    group->second.written.insert(static_cast<size_t>(hierarchy - hierarchies_.data()));
  }
  return cgroup::write_at(hierarchy->root.get(), place(*hierarchy, name), file, value);
}

Result<void> ContainerCgroups::write_checked(const std::string& name, std::string_view controller,
                                             std::string_view file, std::string_view value) {
  GANTRY_TRY(write(name, controller, file, value));
  const std::string text = GANTRY_TRY(read(name, controller, file));
  if (trim(text) == value) return {};
  return Error(Errc::conflict,
               cat(file, " was set to '", value, "' and reads '", trim(text).substr(0, 128), "'"));
}

Result<UniqueFd> ContainerCgroups::open_file(const std::string& name, std::string_view controller,
                                             std::string_view file, int flags) const {
  const Hierarchy* hierarchy = GANTRY_TRY(need(controller));
  const std::string path = place(*hierarchy, name);
  return sys::open_at(hierarchy->root.get(),
                      file.empty() ? path.c_str() : cat(path, "/", file).c_str(), flags);
}

Result<ContainerCgroups::Place> ContainerCgroups::place_of(const std::string& name,
                                                           std::string_view controller) const {
  const Hierarchy* hierarchy = GANTRY_TRY(need(controller));
  return Place{hierarchy->root.get(), place(*hierarchy, name)};
}

Result<UniqueFd> ContainerCgroups::open_v2_directory(const std::string& name) const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (hierarchy.is_v2) {
      return sys::open_at(hierarchy.root.get(), place(hierarchy, name).c_str(),
                          O_RDONLY | O_DIRECTORY);
    }
  }
  return Error(Errc::unsupported, "cgroup2 is not mounted on this host");
}

// ---- Life --------------------------------------------------------------------------------------

bool ContainerCgroups::freezer_is_v2(const std::string& name) const {
  const auto group = groups_.find(name);
  return group != groups_.end() ? group->second.freezer_v2 : layout_.unified() != nullptr;
}

const ContainerCgroups::Hierarchy* ContainerCgroups::freezer(const std::string& name) const {
  const bool is_v2 = freezer_is_v2(name);
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (is_v2
            ? hierarchy.is_v2
            : std::ranges::find(hierarchy.controllers, "freezer") != hierarchy.controllers.end()) {
      return &hierarchy;
    }
  }
  return nullptr;
}

std::vector<std::string> ContainerCgroups::paths(const std::string& name) const {
  std::vector<std::string> out;
  for (const Hierarchy& hierarchy : hierarchies_) {
    out.push_back(cat(hierarchy.root_path, "/", place(hierarchy, name)));
  }
  return out;
}

std::string ContainerCgroups::freezer_path(const std::string& name) const {
  const Hierarchy* hierarchy = freezer(name);
  return hierarchy == nullptr ? "" : cat(hierarchy->root_path, "/", place(*hierarchy, name));
}

std::string ContainerCgroups::freezer_launcher_path(const std::string& name) const {
  const Hierarchy* hierarchy = freezer(name);
  return hierarchy == nullptr ? "" : cat(hierarchy->root_path, "/launcher");
}

Co<Result<void>> ContainerCgroups::pause(std::string name, Duration limit) {
  const Hierarchy* hierarchy = freezer(name);
  if (hierarchy == nullptr) co_return Error(Errc::unsupported, "this host has no cgroup freezer");
  co_return co_await cgroup::freeze_at(hierarchy->root.get(), place(*hierarchy, name),
                                       hierarchy->is_v2, limit);
}

Co<Result<void>> ContainerCgroups::resume(std::string name, Duration limit) {
  const Hierarchy* hierarchy = freezer(name);
  if (hierarchy == nullptr) co_return Error(Errc::unsupported, "this host has no cgroup freezer");
  co_return co_await cgroup::thaw_at(hierarchy->root.get(), place(*hierarchy, name),
                                     hierarchy->is_v2, limit);
}

Co<Result<void>> ContainerCgroups::kill_all(std::string name, Duration limit) {
  const Hierarchy* hierarchy = freezer(name);
  if (hierarchy == nullptr) co_return Error(Errc::unsupported, "this host has no cgroup freezer");
  const int fd = hierarchy->root.get();
  if (GANTRY_CO_TRY(cgroup::is_empty_at(fd, place(*hierarchy, name), hierarchy->is_v2))) {
    co_return Result<void>();
  }
  if (hierarchy->is_v2 && find("freezer") != nullptr) {
    // Nothing of ours writes the v1 freezer of a hybrid host, but a process frozen there by
    // somebody else ignores cgroup.kill (measured): thaw it.
    const Hierarchy& v1 = *find("freezer");
    cgroup::thaw_tree_at(v1.root.get(), place(v1, name));
  }
  auto killed = co_await cgroup::kill_at(fd, place(*hierarchy, name), hierarchy->is_v2, limit);
  if (!killed && killed.error().is_errno(ENOENT)) co_return Result<void>();
  co_return killed;
}

Result<std::vector<pid_t>> ContainerCgroups::processes(const std::string& name) const {
  const Hierarchy* hierarchy = freezer(name);
  if (hierarchy == nullptr) return Error(Errc::unsupported, "this host has no cgroup freezer");
  return cgroup::processes_at(hierarchy->root.get(), place(*hierarchy, name));
}

// KERNEL: unlike rmdir, rename takes a v1 directory with members, and frozen as it is.
// ORDER: thawed here, because a second kill may have frozen it since the first one emptied it, and
// would thaw it under a name that it has no longer.
bool ContainerCgroups::is_at_rest(const Hierarchy& hierarchy, const std::string& name) const {
  if (&hierarchy != freezer(name)) return true;  // destroy() empties the freezer's first
  const int fd = hierarchy.containers.get();
  const auto members = cgroup::read_at(fd, name, "cgroup.procs");
  return members && members->empty() &&
         cgroup::write_at(fd, name, "freezer.state", "THAWED").has_value();
}

Result<bool> ContainerCgroups::try_remove(size_t index, const std::string& name) {
  const Hierarchy& hierarchy = hierarchies_[index];
  if (!has_own(hierarchy, name)) return true;
  const int fd = hierarchy.root.get();
  const std::string path = place(hierarchy, name);
  if (hierarchy.is_v2) {
    // Most have their leaf and nothing else.
    if (!is_nested(name)) ::unlinkat(fd, (path + "/0").c_str(), AT_REMOVEDIR);
    return cgroup::try_remove_tree_at(fd, path);
  }
  const auto group = groups_.find(name);
  const bool may_recycle = group != groups_.end() && group->second.may_recycle &&
                           !group->second.written.contains(index) && is_poolable(name);
  if (may_recycle && is_at_rest(hierarchy, name) && pool_->give_back(index, name)) return true;
  if (is_poolable(name) && pool_->discard(index, name)) return true;
  return cgroup::try_remove_tree_at(fd, path);
}

Result<bool> ContainerCgroups::try_remove_all(const std::string& name) {
  bool is_gone = true;
  for (size_t i = 0; i < hierarchies_.size(); ++i) {
    is_gone = GANTRY_TRY(try_remove(i, name)) && is_gone;
  }
  return is_gone;
}

// What a lack of descriptors or memory has kept from one of the hierarchies is tried again.
Co<Result<void>> ContainerCgroups::destroy(std::string name, Duration limit) {
  for (int tries = 1;; ++tries) {
    Result<void> destroyed = co_await try_destroy(name, limit);
    const bool is_final = destroyed || tries == 3 || destroyed.error().is(Errc::busy);
    if (is_final) co_return destroyed;
    co_await sleep_for(std::chrono::milliseconds(50));
  }
}

Co<Result<void>> ContainerCgroups::try_destroy(std::string name, Duration limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  // ORDER: the freezer's first: when that can be removed there is nobody left to kill, and a
  // directory that is given back to the pool is empty.
  const Hierarchy* first = freezer(name);
  bool is_gone = first != nullptr &&
                 GANTRY_CO_TRY(try_remove(static_cast<size_t>(first - hierarchies_.data()), name));
  if (!is_gone) GANTRY_CO_TRY(co_await kill_all(name, limit));
  is_gone = GANTRY_CO_TRY(try_remove_all(name));
  if (!is_gone) {
    // v1 hierarchies are only as empty as their own members say: somebody may have moved a process.
    for (const Hierarchy& hierarchy : hierarchies_) {
      if (!has_own(hierarchy, name)) continue;
      const Duration left =
          std::max<Duration>(end - std::chrono::steady_clock::now(), std::chrono::milliseconds(1));
      GANTRY_CO_TRY(
          co_await cgroup::remove_tree_at(hierarchy.root.get(), place(hierarchy, name), left));
    }
  }
  remove_parents(parent_place(name));
  groups_.erase(name);
  // ORDER: not before the last wait: a directory that has gone back to the pool becomes another's.
  std::erase_if(kept_joins_, [&](const auto& kept) { return kept.first.second == name; });
  co_return Result<void>();
}

// ---- Recovery ----------------------------------------------------------------------------------

std::string ContainerCgroups::record(const std::string& name) const {
  const auto group = groups_.find(name);
  const std::string v2_name = group == groups_.end() ? "" : group->second.v2_name;
  return cat(freezer_is_v2(name) ? "v2" : "v1", v2_name.empty() ? "" : " ", v2_name);
}

void ContainerCgroups::adopt(const std::string& name, std::string_view record, std::string parent) {
  const size_t space = record.find(' ');
  groups_[name].parent = std::move(parent);
  groups_[name].freezer_v2 = record.substr(0, space) == "v2";
  if (space != record.npos) groups_[name].v2_name = record.substr(space + 1);
}

Result<std::vector<std::string>> ContainerCgroups::orphans(
    const std::set<std::string>& known) const {
  std::set<std::string> v1_orphans, v2_orphans, v2_names, in_parents;
  for (const std::string& name : known) {
    const auto group = groups_.find(name);
    if (group == groups_.end()) continue;
    v2_names.insert(group->second.v2_name);
    in_parents.insert(cat(parent_place(name), "/@", name));
  }
  for (const Hierarchy& hierarchy : hierarchies_) {
    for (const std::string& path :
         GANTRY_TRY(cgroup_parents::find(hierarchy.root.get())).containers) {
      if (in_parents.contains(path)) continue;
      (hierarchy.is_v2 ? v2_orphans : v1_orphans).insert(cat("/", path));
    }
    for (std::string& name : GANTRY_TRY(cgroup::children_at(hierarchy.containers.get(), ""))) {
      if (hierarchy.is_v2 && v2_names.contains(name)) continue;
      if (known.contains(name) || CgroupPool::is_pool_name(name)) continue;
      (hierarchy.is_v2 ? v2_orphans : v1_orphans).insert(std::move(name));
    }
  }
  // ORDER: v2's first. A container that was a prepared child has another name there, which its lost
  // record told; only by it are its processes found and killed, and then v1's directories are
  // empty.
  std::vector<std::string> out(v2_orphans.begin(), v2_orphans.end());
  std::ranges::set_difference(v1_orphans, v2_orphans, std::back_inserter(out));
  return out;
}
}  // namespace gantry
