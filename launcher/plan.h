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
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/plan_format.h"

namespace gantry {
// When in the child an op runs. Within a stage: the order of add().
enum class Stage : uint8_t {
  begin,       // session, death signal, stdio
  cgroups,     // kJoinCgroup
  wait,        // the signal pipe
  namespaces,  // setns, unshare(CLONE_NEWCGROUP), loopback, hostname
  process,  // oom, nice, affinity, keyring … while still fully privileged and on the host's /proc
  root,     // propagation, the root mount
  mounts,   // proc, sys, dev …
  devices,  // nodes and links in /dev
  volumes,  // the user's mounts
  files,    // /etc/hosts …
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

  // Drops every op outside `stages`, and all clone flags but these: a helper that needs a part of
  // what a launch would do (CRIU restores into the container's cgroups and root).
  void reduce_to(std::initializer_list<Stage> stages, uint64_t clone_flags);

  // The only way to a LaunchPlan. Makes the report pipe. Errc::invalid when it is too large.
  Result<LaunchPlan> seal() &&;

 private:
  std::vector<Op> stages_[static_cast<size_t>(Stage::count_)];
  std::string arena_ = std::string(1, '\0');
  std::vector<uint32_t> argv_, envp_;
  std::vector<UniqueFd> fds_;
  PlanHeader header_;
  bool has_nul_ = false;  // a text held a NUL: seal() refuses
};
}  // namespace gantry
