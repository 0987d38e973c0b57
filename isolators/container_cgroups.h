// ContainerCgroups: the cgroups of this executor's containers, in every mounted hierarchy
// (architecture §4, docs/adr/0005).
//
//   ROOT/containers/ID        limits; v1 processes live here
//   ROOT/containers/ID/0      v2 only: where processes are born (inner nodes may hold none)
//   ROOT/containers/ID/n/ID2  a nested container, in the freezer's hierarchy alone: it is killed by
//                             itself, and limited with its container
//   ROOT/parents/NAME/@ID     one with a cgroup parent (isolators/cgroup_parents.h)
//   ROOT/launcher             launcher and logger
//   ROOT/containers/pool.HEX  v1 only: made ahead of need (isolators/cgroup_pool.h)
//
// KERNEL: v1 renames a cgroup, v2 does not, and a move between two of v2's costs 5 to 13 ms after a
// pause. A container that was a prepared child (docs/adr/0013) has its id's name in v1 hierarchies
// and keeps the name it was prepared under in v2's; its record tells which.
//
// A container is named here by name_of(id), its path below ROOT/containers or its parent; with a
// slash in front it is a path below ROOT (an orphan in a parent). Threads: loop only.
// Nothing is held open per container: ten hierarchies times a thousand containers is too many.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_id.h"
#include "base/cgroup_fs.h"
#include "base/co.h"
#include "base/result.h"
#include "base/scope.h"
#include "isolators/cgroup_pool.h"
#include "launcher/plan.h"

namespace gantry {
struct CgroupOptions {
  std::string root = "/gantry";
  // mount: ROOT is below each hierarchy's mount; own_cgroup: below the cgroup we are in ourselves
  // (under a Mesos agent, or a delegated unit).
  enum class Base { mount, own_cgroup } base = Base::mount;
  // Directories kept ready in each v1 hierarchy; 0: none.
  size_t pool_size = 0;
  // Written into every new v1 cgroup: the devices isolator's default list.
  std::vector<CgroupDefault> v1_defaults = {};
};

class ContainerCgroups {
 public:
  using Options = CgroupOptions;
  // Makes ROOT, ROOT/containers and ROOT/parents where they are missing and removes pool
  // directories that a dead executor left. Errc::unsupported where no hierarchy is mounted.
  static Result<std::unique_ptr<ContainerCgroups>> open(asio::any_io_executor executor,
                                                        CgroupLayout layout, Options options);
  ~ContainerCgroups();

  // "ID" or "ID/n/CHILD".
  static std::string name_of(const ContainerId& id);
  const CgroupLayout& layout() const { return layout_; }
  bool has(std::string_view controller) const { return find(controller) != nullptr; }
  // Whether the controller's files are v2's. False also where there is none.
  bool is_v2(std::string_view controller) const;

  // ---- Launch ---------------------------------------------------------------------------------
  // Makes the container's cgroup in every hierarchy and adds the moves of the child to the plan:
  // born in the v2 leaf, then one kJoinCgroup per v1 hierarchy. A failure leaves none of them.
  // `parent`: the cgroup below ROOT/parents that it is made in; empty: none.
  Result<void> create(const std::string& name, LaunchPlan::Builder& plan,
                      const std::string& parent = "");
  // The cgroups made under the name `from`, with who is in them, become those of `name`. A
  // failure leaves them `from`'s.
  Result<void> take_over(const std::string& from, const std::string& name);
  // Moves a child into an existing container's cgroups (exec).
  Result<void> join(const std::string& name, LaunchPlan::Builder& plan);
  // Waits until the child has moved into every hierarchy (it does so at once, then waits for its
  // signal byte); Errc::timed_out names the hierarchy it is missing in.
  Co<Result<void>> verify(std::string name, pid_t pid, Duration limit);
  // The same looked at once: for a child that has said (kBarrier) that it is there.
  Result<void> verify_membership(const ContainerId& id, pid_t pid) const;
  // Refills the pool of v1 directories in the background. Cheap; called after launches.
  void refill_pool();
  bool pool_is_low() const { return pool_->is_low(); }
  // Waits until a refill under way has ended (tests, measurements).
  Co<void> settle_pool() { return pool_->settle(); }
  // The directories of this container may go back to the pool: nothing inside could write to them.
  void allow_recycling(const std::string& name);
  bool knows(const std::string& name) const { return groups_.contains(name); }

  // ---- Files ----------------------------------------------------------------------------------
  // In the hierarchy of `controller`; Errc::unsupported names a controller this host has not.
  Result<std::string> read(const std::string& name, std::string_view controller,
                           std::string_view file) const;
  Result<uint64_t> read_number(const std::string& name, std::string_view controller,
                               std::string_view file) const;
  Result<void> write(const std::string& name, std::string_view controller, std::string_view file,
                     std::string_view value);
  Result<void> write_checked(const std::string& name, std::string_view controller,
                             std::string_view file, std::string_view value);
  // An open file of the container's cgroup; `file` "" is the directory itself.
  Result<UniqueFd> open_file(const std::string& name, std::string_view controller,
                             std::string_view file, int flags) const;
  // Where the container's directory of a controller is, for work on the thread pool; the
  // descriptor, of ROOT, stays ours.
  struct Place {
    int root_fd;
    std::string path;
  };
  Result<Place> place_of(const std::string& name, std::string_view controller) const;
  // The v2 directory that holds the limits (device programs attach there).
  Result<UniqueFd> open_v2_directory(const std::string& name) const;

  // ---- Life -----------------------------------------------------------------------------------
  Co<Result<void>> pause(std::string name, Duration limit);
  Co<Result<void>> resume(std::string name, Duration limit);
  Co<Result<void>> kill_all(std::string name, Duration limit);
  Co<Result<void>> freeze(ContainerId id) { return pause(name_of(id), std::chrono::seconds(10)); }
  Co<Result<void>> thaw(ContainerId id) { return resume(name_of(id), std::chrono::seconds(10)); }
  Co<Result<void>> kill_all(ContainerId id) {
    return kill_all(name_of(id), std::chrono::seconds(10));
  }
  Result<std::vector<pid_t>> processes(const std::string& name) const;
  // Absolute paths of its cgroups, one in each hierarchy.
  std::vector<std::string> paths(const std::string& name) const;
  // Where a checkpoint finds the freezer: its absolute path.
  std::string freezer_path(const std::string& name) const;
  bool freezer_is_v2(const std::string& name) const;
  // The launcher's cgroup in the same hierarchy.
  std::string freezer_launcher_path(const std::string& name) const;
  // Kills what is left and removes the cgroups in every hierarchy, with those that tasks made in
  // them. Idempotent; unknown names are fine.
  Co<Result<void>> destroy(std::string name, Duration limit);
  // What destroy() could not do (a task that hangs in the kernel): tried until it is done, or
  // until close().
  void destroy_later(std::string name);

  // ---- Recovery -------------------------------------------------------------------------------
  // One freezer per container, recorded at launch: "v1" or "v2".
  std::string record(const std::string& name) const;
  void adopt(const std::string& name, std::string_view record, std::string parent);
  // Directories of top-level containers that belong to none of `known`, in any hierarchy.
  Result<std::vector<std::string>> orphans(const std::set<std::string>& known) const;
  // Removes the parents that were made for containers and have none.
  Result<void> remove_unused_parents();

  // ---- The executor's own ---------------------------------------------------------------------
  // Moves a process (launcher, logger) into ROOT/launcher in every hierarchy.
  Result<void> move_to_launcher_group(pid_t pid);
  // Removes the pool; ROOT too where nothing is in it. For an executor that leaves nothing behind.
  Co<Result<void>> close();

 private:
  struct Hierarchy {
    bool is_v2 = false;
    std::vector<std::string> controllers;  // v2: those enabled for our containers
    std::string key;                       // as /proc/PID/cgroup spells it
    std::string root_path;                 // absolute path of ROOT
    std::string proc_prefix;               // ROOT as /proc/PID/cgroup shows it
    UniqueFd root;                         // O_PATH
    UniqueFd containers;                   // ROOT/containers, O_PATH; v1: what the pool works in
  };
  struct Group {
    bool freezer_v2 = false;
    std::string v2_name;  // of the v2 directory, where it is another than the container's
    std::string parent;   // below ROOT/parents; empty: it is in ROOT/containers
    bool may_recycle = false;
    std::set<size_t> written;  // hierarchies with values that are not the defaults
  };

  static constexpr std::string_view kContainers = "containers", kParents = "parents";

  ContainerCgroups(asio::any_io_executor executor, CgroupLayout layout, Options options);
  Result<Hierarchy> open_hierarchy(const CgroupHierarchy& mounted, const std::string& own) const;
  // Enables in `path` what its own cgroup.controllers offers, each by itself: one that cannot be
  // had (realtime tasks against cpu) is no reason to go without the others.
  static Result<void> enable_controllers(int dir_fd, const std::string& path);
  // Else it is in the directory of the container that it is in.
  bool has_own(const Hierarchy& hierarchy, const std::string& name) const;
  // What comes behind its place for its processes' own directory.
  static const char* leaf(const Hierarchy& hierarchy, const std::string& name);
  // The container's directory below ROOT.
  std::string place(const Hierarchy& hierarchy, const std::string& name) const;
  Result<void> create_v1(size_t index, const std::string& name, LaunchPlan::Builder& plan);
  Result<void> rename_v1(const std::string& from, const std::string& name);
  Result<void> join_v1(const Hierarchy& hierarchy, const std::string& name,
                       LaunchPlan::Builder& plan);
  // To join the v1 cgroup of `name` by.
  Result<UniqueFd> open_join(const Hierarchy& hierarchy, const std::string& name);
  Result<void> create_v2(const Hierarchy& hierarchy, const std::string& name,
                         LaunchPlan::Builder& plan);
  Result<void> create_all(const std::string& name, LaunchPlan::Builder& plan);
  Result<void> create_parents(const Hierarchy& hierarchy, const std::string& parent);
  // The directory of the container's parent below ROOT; empty: it has none.
  std::string parent_place(const std::string& name) const;
  // Those from `path` upwards that were made for containers and have nothing in them.
  void remove_parents(std::string path);
  // Whether the pool's directories can become its: those are in ROOT/containers.
  bool is_poolable(const std::string& name) const;
  Result<const Hierarchy*> need(std::string_view controller) const;
  const Hierarchy* find(std::string_view controller) const;
  const Hierarchy* freezer(const std::string& name) const;
  Result<bool> try_remove(size_t index, const std::string& name);
  // Whether a v1 directory may go back to the pool: nobody is in it, and it is not frozen.
  bool is_at_rest(const Hierarchy& hierarchy, const std::string& name) const;
  Result<bool> try_remove_all(const std::string& name);
  Co<void> destroy_patiently(std::string name);
  Co<Result<void>> try_destroy(std::string name, Duration limit);
  // The first hierarchy the process is not in; empty: it is where it should be.
  Result<std::string> missing_in(const std::string& name, pid_t pid) const;

  asio::any_io_executor executor_;
  CgroupLayout layout_;
  Options options_;
  std::vector<Hierarchy> hierarchies_;
  std::unique_ptr<CgroupPool> pool_;  // null: none
  std::map<std::string, Group> groups_;
  // Of containers that commands were run in, for the next ones.
  std::map<std::pair<const Hierarchy*, std::string>, UniqueFd> kept_joins_;
  std::set<std::string> stuck_;  // of destroy_later()
  Scope later_;
};
}  // namespace gantry
