// One launch, step by step (architecture §3). Internal to containerizer/.
#pragma once

#include <optional>
#include <string>

#include "containerizer/containerizer.h"

namespace gantry {
// A spec with `init`: gantry-init, read-only, in the container (not on the host's own root).
void mount_init(ContainerSpec& spec, const std::string& program);

class Launch {
 public:
  Launch(Containerizer& owner, ContainerPtr container);
  ~Launch();
  // From Creating to Running. On error the caller cleans up; every object made so far is found by
  // the container's id.
  Co<Result<void>> run();
  // From Creating to Created.
  Co<Result<void>> create();
  // From Creating to Running with processes that `restore` makes.
  Co<Result<void>> restore(RestoreFunction restore);
  // After run(): what prepared a nested container, and has ended by itself when all went well.
  Co<void> end_helper();
  // What run() failed with; whichever step met it, a limit of processes is that, and of a nested
  // container its parent's end.
  Co<Result<void>> explain_failure(Result<void> failed);

 private:
  Co<Result<void>> record_intent();
  Co<Result<void>> provision();
  Co<Result<void>> provision_nested();
  Co<Result<void>> make_root(ContainerSpec& spec);
  // From Provisioning (or a start that lost its prepared child) to Running.
  Co<Result<void>> start(bool may_be_prepared);
  Co<Result<void>> prepare(bool may_be_prepared);

  Co<Result<void>> prepare_isolators();
  void set_log_place();
  Result<void> make_stdio();
  void add_stdio();
  Co<Result<void>> before_resume(const ProcessRef& process);
  void add_working_directory(const std::string& cwd);
  Result<void> add_command();
  Result<void> add_terminal();
  Co<Result<void>> take_terminal();
  Co<Result<void>> store_terminal();
  // Of a nested container: what prepares it is a helper, which forks what becomes it.
  Result<void> add_fork();
  Co<Result<void>> clone_helper();
  Co<Result<void>> on_fork(pid_t pid);
  std::string helper_key() const;
  Result<void> add_signal();
  Result<void> settle_prelude();
  Result<void> still_wanted() const;
  void phase(const char* name);

  // launch_child.cc
  Co<Result<void>> clone();
  Co<Result<void>> isolate();
  Co<Result<void>> signal_and_exec();
  Co<Result<void>> verify_cgroups();
  Result<void> give_signal();
  Co<Result<void>> on_barrier(uint32_t number);
  Co<Result<void>> check_ran();
  Co<Error> explain_death();
  Error explain_hang() const;
  Co<bool> has_lost_prepared();
  Co<Result<void>> start_over();

  Containerizer& owner_;
  ContainerPtr container_;
  Container& c_;
  std::optional<ProcessRef> parent_;  // the parent's first process
  std::optional<LaunchContext> context_;
  std::string kind_;                       // what PreparedChildren goes by
  std::optional<PreparedChild> prepared_;  // until it is the container's
  LaunchPlan::Builder builder_;
  std::optional<LaunchPlan> plan_;
  UniqueFd stdio_[3];  // the container's ends
  LaunchIo io_;
  UniqueFd signal_write_;     // of a child cloned for this launch
  UniqueFd plan_socket_;      // of one that was prepared
  UniqueFd terminal_socket_;  // where the child sends the master of its terminal
  UniqueFd terminal_;         // received before there was a child to keep it for
  std::optional<ProcessRef> helper_;
  UniqueFd go_write_;               // of the forked child
  bool is_prepared_child_ = false;  // the container's process was one of PreparedChildren's
  bool has_never_run_ = false;      // it died before it could exec
  uint64_t launcher_ = 0;           // its generation when the child was asked of it
  UniqueFd report_read_;
  int64_t phase_start_ns_;
};

// Fills the spec in with what the image says, and makes the volumes it declares.
Co<Result<void>> take_over_image(Provisioner& provisioner, const oci::ImageConfig& config,
                                 std::string snapshot_key, ContainerSpec& spec);

// The environment a command gets: PATH, HOSTNAME, HOME unless given, then image's and request's.
std::vector<std::string> make_environment(const ContainerSpec& spec, const std::string& hostname,
                                          const Credentials& credentials);
}  // namespace gantry
