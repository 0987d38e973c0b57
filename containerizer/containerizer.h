// Containerizer: the in-memory container list and each container's life: launch, wait, kill, stop,
// pause, resume, usage, destroy, remove, recover.
//
// Threads: loop only. Ownership: it owns the containers; what makes them (back end, isolators,
// provisioner …) is handed in by executor/wiring.cc and outlives it. Crash: every step leaves what
// recover() needs in the container's record, in the launcher's table or under a name derived from
// the id, so that a new process adopts the running ones and removes the half-made ones.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/turns.h"
#include "containerizer/container.h"
#include "containerizer/container_event.h"
#include "containerizer/init_program.h"
#include "containerizer/prepared_children.h"
#include "containerizer/sandbox.h"
#include "fetcher/fetcher.h"
#include "isolators/container_cgroups.h"
#include "launcher/launch_backend.h"
#include "launcher/log_client.h"
#include "provisioner/provisioner.h"

namespace gantry {
struct ContainerizerConfig {
  std::string runtime_dir;               // absolute; containers/NAME below it
  std::string data_dir;                  // absolute; sandboxes/NAME below it
  std::chrono::seconds setup_limit{30};  // from clone to exec
  LogLimits log_limits = {};             // of containers that do not say
  size_t prepared_children = 0;          // kept ready of each kind (prepared_children.h)
};

// What a containerizer is built from; all outlive it.
struct ContainerizerParts {
  LaunchBackend& backend;
  LogClient& logs;
  Provisioner& provisioner;
  Fetcher& fetcher;
  WorkerClient& worker;
  ContainerCgroups& cgroups;
  InitProgram& init;
  std::vector<Isolator*> isolators;  // in prepare order
  // Parses ContainerSpec::request_bytes of a record again.
  std::function<Result<ContainerSpec>(const std::string& request_bytes)> parse_spec;
  // Of a nested container that runs a command and asks for nothing else.
  std::function<Result<ContainerSpec>(const ContainerId& id, const std::vector<std::string>& args)>
      command_spec;
};

using ContainerPtr = std::shared_ptr<Container>;

// What whoever restores a container's processes is handed: everything a launch would have made.
struct RestoreInputs {
  const LaunchContext& context;
  LaunchPlan::Builder plan;  // as the isolators prepared it
  UniqueFd stdin_read, stdout_write, stderr_write;
  LaunchIo io;
  // To be called when the processes exist and have not run yet; an error undoes all.
  std::function<Co<Result<void>>(const ProcessRef&)> before_resume;
};
using RestoreFunction = std::function<Co<Result<ProcessRef>>(RestoreInputs)>;

class Launch;

class Containerizer {
 public:
  Containerizer(ContainerizerConfig config, ContainerizerParts parts,
                asio::any_io_executor executor);
  ~Containerizer();

  // Before recover(): who is told what happens.
  void observe(ContainerObserver observer) { observer_ = std::move(observer); }
  // Once, before anything else: adopts, finishes or removes what an earlier executor left, and runs
  // again what a reboot has ended and its policy wants to run.
  Co<Result<void>> recover();
  // Records and registrations that recover() has set aside, and what it could not remove.
  const std::vector<std::string>& damaged() const { return damaged_; }
  const std::vector<std::string>& left_behind() const { return left_behind_; }

  enum class LaunchAnswer { started, already_there };
  // Answers when the command has been exec'd. A failed launch leaves nothing behind and is
  // forgotten; waiters that came meanwhile get ExitOutcome::failed.
  Co<Result<LaunchAnswer>> launch(ContainerId id, ContainerSpec spec);

  // All of a launch but its processes: it is Created until start(), also after a reboot (but for
  // one that is removed when it ends).
  Co<Result<LaunchAnswer>> create(ContainerId id, ContainerSpec spec);

  // Answers with the outcome as soon as it is known (output is complete then), and keeps answering
  // until REMOVE. No deadline. Errc::not_found for an unknown id.
  Co<Result<ExitOutcome>> wait(ContainerId id);
  // Sends a signal to the container's first process; before it runs: gives the launch up.
  Co<Result<void>> kill(ContainerId id, int signal);
  // The stop signal, `grace`, then SIGKILL to all. Answers when it has ended.
  Co<Result<void>> stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                        std::optional<int> signal = std::nullopt);
  // A created one runs, an exited one again: same id, sandbox and writable layer. Errc::busy while
  // it runs. `after_end_ns`: the end it had when this was decided (0: none): where it has been
  // started since, that was it.
  Co<Result<void>> start(ContainerId id, std::optional<int64_t> after_end_ns = std::nullopt);
  // Other limits, restart policy and name, at once and for later runs: those of `wanted`, which is
  // what it shall be. What the kernel refuses changes nothing.
  Co<Result<void>> update(ContainerId id, ContainerSpec wanted);
  Co<Result<void>> pause(ContainerId id);
  Co<Result<void>> resume(ContainerId id);
  Co<Result<Usage>> usage(ContainerId id);
  // Kills everything in it and waits for Exited. Idempotent, joined by later callers. Errc::busy,
  // within seconds, where something is stuck in the kernel; it is tried again by itself.
  Co<Result<void>> destroy(ContainerId id);
  // Record, logs and writable layer go. Errc::busy while it runs, unless Force; one that is forced
  // and stuck goes when it has ended.
  enum class Force { no, yes };
  Co<Result<void>> remove(ContainerId id, Force force);

  // Runs `dump` while the container is Checkpointing; the second argument: it was paused before.
  // What it was before is what it is afterwards, unless the dump ended it: then it is Exited.
  // Errc::busy when it is neither running nor paused.
  using DumpFunction = std::function<Co<Result<void>>(ContainerPtr, bool)>;
  // AfterDump::ends: it stays as it then is; its restart policy does not run it anew.
  enum class AfterDump { ends, goes_on };
  Co<Result<void>> checkpoint(ContainerId id, DumpFunction dump, AfterDump after);
  // From Exited back to Running, its processes made by `restore`, which leaves them frozen. A
  // failure leaves it Exited as it was.
  Co<Result<void>> restore(ContainerId id, RestoreFunction restore);

  // By id; nullptr when unknown.
  ContainerPtr find(const ContainerId& id) const;
  // As people write it: id, name, or a prefix of an id that is unique (names first, then ids). A
  // nested one: that of its parent, a dot, its own id.
  Result<ContainerPtr> resolve(std::string_view text) const;
  std::vector<ContainerPtr> list() const;
  size_t live_count() const;
  std::vector<std::string> isolator_names() const;

  std::string sandbox_of(const Container& container) const;
  std::string runtime_dir_of(const Container& container) const;

  // Used by checkpoint: state and record changes around a dump or restore.
  Result<void> write_record(const Container& container) const;
  std::string record_of(const Container& container) const;  // its bytes
  LaunchBackend& backend() { return parts_.backend; }
  // A worker's job on its files. The container's removal ends it: Errc::not_found.
  Co<Result<Fields>> run_on_files(ContainerPtr container, WorkerRequest request);
  // Each once for the other: the processes of one that runs stand still in between, which shows
  // nowhere: if this executor dies, the next one lets them go.
  Co<Result<void>> hold_still(ContainerPtr container);
  Co<Result<void>> let_go(ContainerPtr container);
  // Errc::busy while a worker has its writable layer mounted (Container::is_written).
  static Result<void> require_unwritten(const Container& container);
  ContainerCgroups& cgroups() { return parts_.cgroups; }
  size_t prepared_children() const { return prepared_.ready(); }
  uint64_t prepared_launches() const { return prepared_launches_; }  // that used one

  // Readers are cut off now, and come back to the next executor: from here on an end of one removes
  // nothing (`run --rm`).
  void prepare_to_leave() { is_leaving_ = true; }
  // Lets every watch go without touching a container (executor shutdown).
  Co<void> close();

 private:
  friend class Launch;
  friend class Recovery;

  void tell(const Container& container, std::string_view action,
            EventAttributes attributes = {}) const;
  void tell_end(const Container& container) const;

  // Into the list; null where the id is there already.
  Co<Result<ContainerPtr>> admit(ContainerId id, ContainerSpec spec);
  Co<Result<void>> run_create(ContainerPtr container);
  // Waits until it is undone, or for a while.
  Co<Result<void>> give_up_launch(ContainerPtr container, std::shared_ptr<Launch> launch,
                                  Error error);
  // Errc::conflict when the name is taken. No name: there is nothing to wait for.
  Co<Result<void>> wait_for_name(std::string name);
  // For a launch of `id`; Errc::exhausted, saying what is short.
  Result<void> require_room(const ContainerId& id) const;
  Co<Result<void>> run_launch(ContainerPtr container);
  // restart.cc: runs it again when its policy says so.
  enum class AfterReboot { no, yes };
  void consider_restart(ContainerPtr container, AfterReboot after_reboot);
  Co<void> restart_when_due(ContainerPtr container);
  Co<Result<void>> run_again(ContainerPtr container);
  // health.cc: checks of one that asks for them, while it runs.
  static bool is_checked(const Container& container);
  void read_health(Container& container) const;
  Result<void> write_health(const Container& container) const;
  void forget_health(Container& container) const;
  Co<void> watch_health(ContainerPtr container);
  Co<bool> wait_check_due(ContainerPtr container, std::chrono::steady_clock::time_point due);
  // nullopt: it says nothing about the container.
  Co<std::optional<HealthCheck>> check_health(ContainerPtr container);
  Co<bool> wait_check_end(ContainerPtr container, ContainerPtr check);
  Co<void> end_check(ContainerPtr container);
  // True: the container is ending for it.
  bool act_on_failure(ContainerPtr container);
  Co<void> end_unhealthy(ContainerPtr container);
  // update.cc
  Co<Result<void>> apply_limits(ContainerPtr container, ResourceSpec wanted);
  void rename(Container& container, const std::string& name);
  // Of a container that has a registration.
  Co<Result<void>> update_registration(const Container& container, std::string record) const;
  Co<Result<void>> run_restore(ContainerPtr container, RestoreFunction restore);
  Co<void> undo_restore(ContainerPtr container);
  Co<Result<void>> note_stop(ContainerPtr container);
  Co<Result<void>> send_signal(ContainerPtr container, int signal);
  Co<Result<void>> end(ContainerPtr container, std::optional<std::chrono::seconds> grace,
                       std::optional<int> chosen);
  // After exec or adoption: the watch that ends in finish(), and the isolators' watches.
  void start_watching(ContainerPtr container);
  // Those that have to do with it.
  const std::vector<Isolator*>& isolators_of(const Container& container) const;
  // Of a nested container: its parent, which must run.
  Result<ContainerPtr> find_parent(const ContainerId& id) const;
  // Waits until all that was launched in it is Exited; its processes have been killed.
  Co<void> wait_nested_ended(ContainerPtr container);
  Co<Result<void>> remove_nested(ContainerPtr container);
  // One more is launched in it: of those that ended long ago the oldest goes.
  Co<void> make_room_for_nested(ContainerPtr parent);
  bool has_readers(const Container& container) const;
  size_t live_nested(const Container& container) const;
  Co<void> watch_exit(ContainerPtr container);
  // How it ended, from the back end, or from the kernel where the back end does not know it.
  Co<Result<ExitRecord>> wait_exit(ContainerPtr container);
  // `run --rm`: once nobody reads its output any more.
  Co<void> remove_when_read(ContainerPtr container);
  Co<void> watch_limit(ContainerPtr container, Isolator* isolator);
  // From the exit of the first process (or a failed launch) to Exited.
  // False when this executor ends before it can be: the next one goes on.
  Co<bool> finish(ContainerPtr container, ExitOutcome outcome);
  Co<void> undo_launch(ContainerPtr container, std::shared_ptr<Launch> launch);
  Co<bool> await_end(std::string key);
  Co<void> end_recovered(ContainerPtr container, ExitOutcome outcome, bool has_run, bool is_child,
                         AfterReboot after_reboot);
  Co<void> let_readers_go(ContainerPtr container);
  Co<bool> clean_until_gone(ContainerPtr container);
  Co<void> record_end(ContainerPtr container);
  Co<Result<void>> begin_destroy(ContainerPtr container);
  // output_end.cc
  Co<void> flush_output(ContainerPtr container);
  // At once, or when its output is in the files.
  Co<void> forget_process(ContainerPtr container);
  Co<void> forget_when_drained(ContainerPtr container);
  // Before it runs again or goes: what is not in the files by now is lost.
  Co<void> forget_undrained(ContainerPtr container);
  Co<Result<void>> kill_all(ContainerId id);
  Co<bool> clean_kernel_objects(ContainerPtr container);
  Co<void> end_file_work(ContainerPtr container);  // file_work.cc
  Co<Result<void>> remove_storage(ContainerPtr container);
  // Of one whose removal an earlier executor had begun.
  Co<void> end_removal(ContainerPtr container);
  Result<void> note_removal(const Container& container) const;
  std::string removal_note_of(const Container& container) const;
  Co<ExitOutcome> explain_exit(ContainerPtr container, ExitRecord exit);
  Result<ContainerPtr> require(const ContainerId& id) const;

  ContainerizerConfig config_;
  ContainerizerParts parts_;
  std::vector<Isolator*> nested_isolators_;  // of parts_.isolators
  asio::any_io_executor executor_;
  std::map<ContainerId, ContainerPtr> containers_;
  std::map<std::string, ContainerId, std::less<>> names_;
  ContainerObserver observer_;
  Turns turns_;  // of launches, from what they prepare to their exec
  PreparedChildren prepared_;
  SpareSandboxes spare_sandboxes_;
  uint64_t prepared_launches_ = 0;
  uint64_t next_file_work_ = 0;
  bool is_leaving_ = false;
  bool is_recovered_ = false;
  bool is_closing_ = false;
  Event closing_;
  std::vector<std::string> damaged_;
  std::vector<std::string> left_behind_;
  Scope scope_;
};
}  // namespace gantry
