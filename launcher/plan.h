// LaunchPlan: everything a child does between clone and exec, as plain data (docs/adr/0003).
//
// The executor builds it (Builder), freezes it into a sealed memfd (seal()), and sends it with the
// descriptors it names to gantry-launcher, which clones a child that interprets it: one loop over
// `Op`s with raw system calls, no allocation, no policy. The order of ops is the builder's: by
// Stage, then by order of add(). The format is versioned; both ends check it.
//
// The format itself is launcher/plan_format.h.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/plan_format.h"

namespace gantry {
// When in the child an op runs. Within a stage: the order of add().
enum class Stage : uint8_t {
  // The prelude: nothing in it depends on the container, so a prepared child has run it already
  // (docs/adr/0013).
  begin,        // session, death signal
  cgroups,      // kJoinCgroup
  wait,         // the signal pipe
  namespaces,   // setns, unshare(CLONE_NEWCGROUP), loopback
  process,      // oom, nice, affinity, keyring … fully privileged and on the host's /proc
  propagation,  // of the host's mounts
  staging,      // proc, sys and dev, made and masked beside the root
  next_plan,    // kNextPlan, in a prelude alone
  // The rest.
  identity,  // stdio, hostname
  root,      // the root mount, volumes
  mounts,    // proc, sys, dev, moved from the staging area
  volumes,   // the user's mounts below those
  files,     // /etc/hosts …
  pivot,
  readonly,     // sysctls, masks, read-only paths, read-only root
  limits,       // rlimits, umask, working directory
  credentials,  // bounding set, groups, ids, capabilities
  lockdown,     // no_new_privs, seccomp
  exec,
  count_,
};

// A sealed plan: immutable, with the descriptors it names.
class LaunchPlan {
 public:
  class Builder;
  const PlanHeader& header() const;
  std::span<const Op> ops() const;
  std::string_view string(uint32_t arena_offset) const;
  int memfd() const { return memfd_.get(); }
  std::span<const UniqueFd> fds() const { return fds_; }
  // Where the child's report pipe is read; taken once by the back end.
  UniqueFd take_report_pipe() { return std::move(report_read_); }
  // The back end has sent them: closes the executor's copies.
  void close_fds() { fds_.clear(), memfd_.reset(); }
  // "mount proc on /proc": names the step and its object, for errors.
  std::string describe(uint32_t op_index) const;
  std::vector<std::string> args() const;

 private:
  friend class Builder;
  std::string bytes_;  // the same bytes as the memfd, for describe()
  UniqueFd memfd_;
  UniqueFd report_read_;
  std::vector<UniqueFd> fds_;
};

// The part of a launch that is the same for every container of a kind. Two that are equal ask the
// kernel for exactly the same things.
struct Prelude {
  struct Step {
    Stage stage;
    Op op;  // without its texts
    std::string s1, s2, s3;
    bool operator==(const Step& other) const;
  };
  uint64_t clone_flags = 0;
  std::vector<Step> steps;
  bool operator==(const Prelude&) const = default;
};

class LaunchPlan::Builder {
 public:
  // Adds an op to a stage. The strings an op names must come from str()/blob() of this builder.
  void add(Stage stage, const Op& op);
  uint32_t str(std::string_view text);  // NUL-terminated copy in the arena; must hold no NUL
  uint32_t blob(const void* data, size_t bytes);
  int32_t fd(UniqueFd owned);  // its slot

  void set_args(const std::vector<std::string>& args);
  void set_env(const std::vector<std::string>& env);
  void add_clone_flags(uint64_t flags);
  void set_cgroup_fd(int32_t slot);
  // The child is born in this pid namespace (exec into a container): slot of its descriptor.
  void set_pid_namespace_fd(int32_t slot);

  // What the prelude's stages hold, but for the cgroups and the signal pipe, which are each child's
  // own; nullopt when it names descriptors: then it is this launch's alone.
  std::optional<Prelude> prelude() const;
  void add(const Prelude& prelude);
  // Drops the prelude's stages: the plan goes to a child that has run them.
  void drop_prelude();

  // Drops every op outside `stages`, and all clone flags but these: a helper that needs a part of
  // what a launch would do (CRIU restores into the container's cgroups and root).
  void reduce_to(std::initializer_list<Stage> stages, uint64_t clone_flags);

  // The only way to a LaunchPlan. Makes the report pipe, unless the plan is for a child that has
  // one. Errc::invalid when it is too large.
  Result<LaunchPlan> seal() &&;

 private:
  std::string_view text(uint32_t offset) const;

  std::vector<Op> stages_[static_cast<size_t>(Stage::count_)];
  std::string arena_ = std::string(1, '\0');
  std::vector<std::pair<uint32_t, uint32_t>> texts_;  // offset and length, in arena order
  std::vector<uint32_t> argv_, envp_;
  std::vector<UniqueFd> fds_;
  PlanHeader header_;
  bool has_nul_ = false;  // a text held a NUL: seal() refuses
  bool prelude_dropped_ = false;
};
}  // namespace gantry
