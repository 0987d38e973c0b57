// PreparedChildren: children that have run the prelude of a launch already and wait for the rest
// (docs/adr/0013). Cloning with namespaces, moving into cgroups and mounting /proc, /sys and /dev
// is more than half of what a launch asks of the kernel, and none of it depends on the container.
//
// What is prepared is learned: the prelude of each launch that found nothing prepared is the recipe
// for the next. A child is used only by a launch whose own prelude equals the recipe, so that what
// was prepared is what would have been done.
//
// Owns children of the back end and cgroups named "prepared.HEX-N" until they are claimed. A new
// executor ends those of a dead one as it ends every half-made child: they met end-of-file on their
// socket, and no record names them. Threads: loop only.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/co.h"
#include "base/process_ref.h"
#include "base/scope.h"
#include "base/unique_fd.h"
#include "isolators/container_cgroups.h"
#include "launcher/launch_backend.h"

namespace gantry {
struct PreparedChild {
  std::string name;  // its key at the back end, and its cgroups'
  std::shared_ptr<const Prelude> prelude;
  ProcessRef process;
  UniqueFd report_pipe;    // read end
  UniqueFd plan_socket;    // where the rest of the plan is sent; closed: it exits
  uint64_t mounts = 0;     // the state of the host's mount table it was cloned from
  size_t propagation = 0;  // a digest of that table, which tells what is shared
};

// What of the host's mounts a launch depends on: those there are, or also those that come later
// (its root or a volume is a slave of the host's).
enum class HostMounts { present, arriving };

class PreparedChildren {
 public:
  // `size` of each recipe are kept ready; 0: none.
  PreparedChildren(LaunchBackend& backend, ContainerCgroups& cgroups,
                   asio::any_io_executor executor, size_t size);

  // One that is ready and was prepared for launches of this kind; nullopt: none. `kind` is a guess
  // at what the prelude will be, good enough to seldom claim in vain.
  std::optional<PreparedChild> claim(const std::string& kind, HostMounts needed);
  // What a launch of `kind` needs; refill() prepares some.
  void learn(const std::string& kind, Prelude prelude);
  // Prepares what is missing, in the background. Cheap; called after launches.
  void refill();
  // A claimed one that is not wanted after all: ended in the background.
  void give_up(PreparedChild child);
  size_t ready() const;
  // Waits until none is being prepared or ended (tests, measurements).
  Co<void> settle() { return scope_.join(); }
  // Ends them all.
  Co<void> close();

 private:
  struct Recipe {
    std::string kind;
    std::shared_ptr<const Prelude> prelude;
    std::list<PreparedChild> ready;
    std::chrono::steady_clock::time_point used;
  };
  Recipe* find(const std::string& kind);
  Recipe* most_wanting();
  bool has_room() const;
  Co<void> fill();
  Co<Result<PreparedChild>> prepare(std::shared_ptr<const Prelude> prelude);
  Co<Result<void>> start(PreparedChild& child, LaunchPlan::Builder plan);
  Co<Result<void>> let_on(const PreparedChild& child, int signal_fd);
  Co<void> end(std::string name, bool has_cgroups);
  uint64_t mount_table();
  Co<void> watch_mounts();
  void end_stale();

  LaunchBackend& backend_;
  ContainerCgroups& cgroups_;
  size_t size_;
  std::string prefix_;
  uint64_t next_ = 0;
  std::list<Recipe> recipes_;  // most recently used first
  UniqueFd mountinfo_;
  uint64_t mounts_ = 0;
  std::chrono::steady_clock::time_point last_claim_;
  bool is_filling_ = false;
  bool is_closing_ = false;
  Scope scope_;
  Scope watch_;  // apart, because settle() waits for what is in scope_
};
}  // namespace gantry
