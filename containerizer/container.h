// Container: one container of the in-memory list: its state, what was asked, what runs it.
//
// Role: data and transitions; the life itself (launch, destroy, recovery) is Containerizer's.
// Lifetime: from the first record write to REMOVE. Threads: loop only. After a crash it is rebuilt
// from its record (container_record.h).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "api/types/container_state.h"
#include "api/types/exit_outcome.h"
#include "api/types/health.h"
#include "base/co.h"
#include "base/process_ref.h"
#include "base/scope.h"
#include "launcher/isolator.h"

namespace gantry {
// The time one step of a launch took; shown by `gantry inspect --phases`.
struct PhaseTime {
  std::string name;
  std::chrono::microseconds duration;
};

class Container {
 public:
  Container(ContainerId id, std::shared_ptr<const ContainerSpec> spec,
            const asio::any_io_executor& executor)
      : id(std::move(id)), spec(std::move(spec)), changed(executor), scope(executor) {}

  const ContainerId id;
  std::shared_ptr<const ContainerSpec> spec;  // final once provisioned: image config merged in
  int64_t created_ns = 0;
  int64_t started_ns = 0;
  int64_t exited_ns = 0;
  std::chrono::steady_clock::time_point ended_at;  // its age, whatever becomes of the host's clock

  std::optional<ProcessRef> process;
  std::optional<ExitOutcome> outcome;  // set once; waiters may be answered from then on
  std::optional<Error> launch_error;   // why it never ran
  // While it is being restored or restarted: how its last run ended, and when. What it is again if
  // that fails.
  std::optional<ExitOutcome> former_outcome;
  int64_t former_exited_ns = 0;
  Rootfs rootfs;
  Credentials credentials;
  std::string image_digest;
  std::string hostname;
  std::vector<PhaseTime> phases;

  std::optional<Limitation> limitation;     // what ended it, when a limit did
  std::vector<std::string> cleanup_errors;  // kernel objects that would not go

  // Asked to end while a launch is in flight; the launch gives up at its next step.
  bool kill_requested = false;
  bool removing = false;         // a REMOVE is at work; others join it
  bool is_removal_due = false;   // asked for by force while it could not end
  bool is_undone = false;        // of a launch that failed: nothing of it is left
  bool is_end_in_table = false;  // its record does not tell its end, the launcher's table does
  std::string stuck_on;          // why its kernel objects are still there; they are tried again
  // The isolators whose prepare() was begun, so that cleanup knows it has work.
  bool isolators_touched = false;

  // Restart policy: how often it ran again, whether somebody said stop or kill since it was last
  // started, how many of its last runs were short, whether it is about to run again.
  uint32_t restarts = 0;
  bool was_stopped = false;
  uint32_t short_runs = 0;
  bool restart_due = false;
  bool ran_before =
      false;  // its sandbox and writable layer are those of a former run, or `create`'s
  bool was_created = false;  // by `create`, to be started by somebody

  // Of the last run, once its first process has ended. open: there may be more; late: there is, or
  // the logger did not say in time. Until then the launcher keeps what the logger needs
  // (is_undrained).
  enum class Output { open, late, ended } output = Output::ended;
  bool is_undrained = false;
  // The logger has said so to somebody who follows it: nobody need ask.
  bool has_output_ended = false;
  int stall_error = 0;  // an errno while its disk takes no output

  // A worker has its writable layer mounted, while it does not run (GANTRY_COPY_IN): KERNEL: two
  // overlays with one upper directory do not see what the other writes.
  bool is_written = false;

  // Of one that is checked, since its last start. While checks are held none begins, and none that
  // runs counts.
  std::optional<Health> health;
  int checks_held = 0;
  bool restart_wanted = false;  // it is to run again, whatever its policy
  std::string killed_because;   // of a kill that was nobody's but ours

  // Workers at its files (cp, export, diff, commit), each by how it is ended: its removal does.
  std::map<uint64_t, std::function<void()>> file_work;

  // Clients that follow its output; removal on exit waits for them (`run --rm | less`).
  int readers = 0;
  // Taken over from an executor that died, whose readers have not come back yet.
  bool awaits_reader = false;

  // The container it was launched in, whose namespaces and limits it shares; null: a top-level one.
  std::shared_ptr<Container> parent;
  std::set<ContainerId> nested;  // those launched in it and not removed

  Event changed;  // state, outcome, readers
  Scope scope;    // the watches of this container

  ContainerState state() const { return state_; }
  // CHECKs that the edge is legal.
  void transition(ContainerState to);
  // For recovery only: the state a record said.
  void restore_state(ContainerState state) { state_ = state; }

  // Whether a reboot shall not make it forgotten (registrations.h).
  bool is_registered() const {
    return !parent && !spec->remove_on_exit &&
           (was_created || !spec->name.empty() || spec->restart.kind != RestartPolicy::Kind::no);
  }

  // Nested ones lie beside the others; '%' and a hash are no id of theirs.
  std::string directory_name() const {
    return id.parent() == nullptr ? id.directory_name() : "%" + id.hash();
  }

 private:
  ContainerState state_ = ContainerState::creating;
};
}  // namespace gantry
