// CgroupPool: v1 cgroup directories made ahead of need, so that making them, and writing their
// default values, is off the launch path (reference: 1.4 ms of a launch, measured). v1 allows a
// rename within one parent: a ready directory becomes the container's by one renameat of 3 µs. v2
// has no rename and needs no pool.
//
// Directories of containers that left their controllers' values alone come back by the same way;
// the others wait here, under names of the pool, until launches pause, and are then removed.
// KERNEL: the end of a memory cgroup visits the lists of every super block of the host (six a
// container) under the lock that a launch needs: 3 ms with 1,000 containers (6.18, measured).
//
// Owns ROOT/containers/pool.* in the hierarchies it was given, while it lives; close() removes
// them, and sweep() those of an executor that died. Threads: loop only; the making is offloaded.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/unique_fd.h"

namespace gantry {
// A value every new cgroup of a controller gets; or, with Kind::check, what the file must read
// after the values before it.
struct CgroupDefault {
  std::string controller, file, value;
  enum class Kind { write, check } kind = Kind::write;
};
Result<void> apply_default(int containers_fd, const std::string& name, const CgroupDefault& value);

class CgroupPool {
 public:
  struct Parent {
    int containers_fd = -1;    // ROOT/containers of a v1 hierarchy; the owner outlives the pool
    bool is_reusable = false;  // the controller keeps no counters a next user would see
    std::vector<CgroupDefault> defaults;
  };
  CgroupPool(asio::any_io_executor executor, std::vector<Parent> parents, size_t size);

  // A ready directory becomes ROOT/containers/`name`; returns its open `tasks` file. nullopt: none
  // ready (the caller makes one). Errc::already_exists: the name is taken.
  Result<std::optional<UniqueFd>> take(size_t parent, const std::string& name);
  // The empty cgroup `name`, unchanged since take(), goes back. False: not wanted, or busy.
  bool give_back(size_t parent, const std::string& name);
  const std::vector<CgroupDefault>& defaults(size_t parent) const {
    return parents_[parent].defaults;
  }
  // The empty cgroup `name` goes, soon. False: it is busy or holds others, or many wait already.
  bool discard(size_t parent, const std::string& name);
  // Starts filling up and clearing away in the background, unless that is under way.
  void refill();
  // Less than half of some hierarchy's directories is ready.
  bool is_low() const;
  // Waits until a refill under way has ended (tests, measurements).
  Co<void> settle() { return scope_.join(); }
  size_t ready(size_t parent) const { return slots_[parent].size(); }
  // Stops and removes what it has.
  Co<void> close();

  // Removes pool directories below containers_fd that no living pool owns.
  static Result<void> sweep(int containers_fd);
  static bool is_pool_name(std::string_view name) { return name.starts_with("pool."); }

 private:
  struct Slot {
    std::string name;
    UniqueFd tasks;  // invalid (it was given back): opened by take()
  };
  static Result<Slot> make(const Parent& parent, std::string name);
  std::string next_name();
  // Another name for ROOT/containers/`name`, unless somebody made cgroups in it; "": refused.
  std::string rename_to_own(size_t parent, const std::string& name);
  bool is_full() const;
  Co<void> tend();
  Co<void> fill();
  Co<void> clear_discarded();
  Co<void> wait_for_pause();

  std::vector<Parent> parents_;
  std::vector<std::vector<Slot>> slots_;
  size_t size_;
  std::string prefix_;
  uint64_t next_ = 0;
  struct Discarded {
    size_t parent;
    std::string name;
  };
  std::vector<Discarded> discarded_;
  std::chrono::steady_clock::time_point last_use_;
  bool is_tending_ = false;
  Scope scope_;
};
}  // namespace gantry
