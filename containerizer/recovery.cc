#include "containerizer/recovery.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <ranges>
#include <set>

#include "base/directory.h"
#include "base/failpoint.h"
#include "base/record_file.h"
#include "base/sys.h"
#include "containerizer/launch.h"
#include "containerizer/nested.h"
#include "containerizer/registrations.h"
#include "containerizer/sandbox.h"

namespace gantry {
namespace {
// For all that ended meanwhile, before the executor serves.
constexpr auto kSettleLimit = std::chrono::seconds(5);

Co<void> remove_sandboxes(WorkerClient& worker, std::vector<std::string> sandboxes) {
  for (std::string& sandbox : sandboxes) {
    (co_await remove_sandbox(worker, std::move(sandbox))).ignore("tried again next time");
    if (co_await is_cancelled()) co_return;
  }
}

bool is_running(const ProcessIdentity& identity) {
  const Result<ProcessRef> process = ProcessRef::open(identity);
  return process && !process->ended();
}

ExitOutcome lost_in_reboot() {
  return {ExitOutcome::Kind::lost, 0, false, "the host was restarted while it ran"};
}

void end_in_reboot(ContainerRecord& record) {
  if (!record.outcome || record.state != ContainerState::exited) {
    record.outcome = lost_in_reboot();
    record.exited_ns = sys::realtime_ns();
  }
  record.state = ContainerState::exited;
  record.ran_before = true;
}
}  // namespace

Co<Result<void>> Containerizer::recover() {
  Recovery recovery(*this);
  GANTRY_CO_TRY(co_await recovery.run());
  is_recovered_ = true;
  co_return Result<void>();
}

Co<Result<void>> Recovery::run() {
  GANTRY_CO_TRY(sys::ensure_directory_at(
      AT_FDCWD, cat(owner_.config_.runtime_dir, "/containers").c_str(), 0700));
  GANTRY_CO_TRY(sys::ensure_directory_at(
      AT_FDCWD, cat(owner_.config_.runtime_dir, "/staging").c_str(), 0700));
  GANTRY_CO_TRY(
      sys::ensure_directory_at(AT_FDCWD, cat(owner_.config_.data_dir, "/sandboxes").c_str(), 0700));
  GANTRY_CO_TRY(read_records());
  GANTRY_CO_TRY(link_nested());
  GANTRY_CO_TRY(co_await read_registered());
  GANTRY_FAILPOINT_CO_TRY("recover.after_records");
  GANTRY_CO_TRY(co_await classify());
  GANTRY_FAILPOINT_CO_TRY("recover.after_classify");
  // ORDER: before a container is adopted or ended that a helper may be at work on.
  co_await await_helpers();
  // ORDER: before the helper that holds its tasks, which would run then.
  co_await end_half_restored();
  GANTRY_CO_TRY(co_await end_strangers());
  GANTRY_CO_TRY(co_await recover_parts());
  GANTRY_FAILPOINT_CO_TRY("recover.after_parts");
  patience_ = std::chrono::steady_clock::now() + kSettleLimit;
  // All at a time: an exit that its new parent has not reaped yet and a logger that is being
  // restarted take seconds each. ORDER: nested ones first: the end of a container waits for theirs.
  Scope settling(owner_.executor_);
  for (Found& found : found_ | std::views::reverse) settling.spawn(settle_one(found));
  co_await settling.join();
  for (const Found& found : found_) {
    if (found.container->state() != ContainerState::exited) continue;
    owner_.consider_restart(found.container, found.after_reboot ? Containerizer::AfterReboot::yes
                                                                : Containerizer::AfterReboot::no);
  }
  GANTRY_CO_TRY(remove_orphan_sandboxes());
  co_await patiently(remove_sandboxes(owner_.parts_.worker, std::move(unknown_sandboxes_)));
  co_return Result<void>();
}

Result<void> Recovery::read_records() {
  for (const std::string& name :
       GANTRY_TRY(names_in(AT_FDCWD, cat(owner_.config_.runtime_dir, "/containers").c_str()))) {
    if (name.find(".damaged-") != std::string::npos) continue;
    // What cannot be looked at now is not damaged: its container must not be ended for that.
    const DirFd place =
        GANTRY_TRY(DirFd::open(cat(owner_.config_.runtime_dir, "/containers/", name)));
    Result<void> read = read_record(place);
    if (!read) {
      // A directory without a record: its launch died before it was whole. A damaged one: the
      // objects under its name are removed as orphans, and the bytes are kept.
      DirFd dir = GANTRY_TRY(DirFd::open(cat(owner_.config_.runtime_dir, "/containers")));
      if (read.error().is_errno(ENOENT)) {
        GANTRY_TRY(remove_tree_at(dir.get(), name));
      } else if (is_damage(read.error())) {
        GANTRY_TRY(quarantine_record(dir.get(), name));
        owner_.damaged_.push_back(
            cat(owner_.config_.runtime_dir, "/containers/", name, ": ", read.error().to_string()));
      } else {
        return read;
      }
    }
  }
  return {};
}

Result<void> Recovery::read_record(const DirFd& dir) {
  remove_temporaries(dir.get()).ignore("the next executor tries again");
  std::string payload = GANTRY_TRY(gantry::read_record(dir.get(), "record"));
  found_.push_back({.container = nullptr, .record = GANTRY_TRY(parse_record(payload))});
  Result<void> taken = take(found_.back());
  if (!taken) found_.pop_back();
  return taken;
}

// The container that a record describes.
Result<void> Recovery::take(Found& found) {
  const ContainerRecord& record = found.record;
  ContainerSpec spec = GANTRY_TRY(owner_.parts_.parse_spec(record.request_bytes));
  mount_init(spec, owner_.parts_.init.mounted());
  spec.is_session = record.is_session;
  auto container = std::make_shared<Container>(
      record.id, std::make_shared<const ContainerSpec>(std::move(spec)), owner_.executor_);
  container->restore_state(record.state);
  container->created_ns = record.created_ns;
  container->started_ns = record.started_ns;
  container->exited_ns = record.exited_ns;
  const int64_t age_ns = std::max<int64_t>(sys::realtime_ns() - record.exited_ns, 0);
  container->ended_at = std::chrono::steady_clock::now() - std::chrono::nanoseconds(age_ns);
  container->outcome = record.outcome;
  container->rootfs = record.rootfs;
  container->credentials = record.credentials;
  container->image_digest = record.image_digest;
  container->hostname = record.hostname;
  container->phases = record.phases;
  container->restarts = record.restarts;
  container->was_stopped = record.was_stopped;
  container->ran_before = record.ran_before;
  container->restart_wanted = record.restart_wanted;
  container->was_created = record.was_created;
  container->awaits_reader = true;
  // While it was being restarted.
  if (record.ran_before && record.state != ContainerState::exited &&
      record.state != ContainerState::restoring) {
    container->former_outcome = std::exchange(container->outcome, std::nullopt);
    container->former_exited_ns = std::exchange(container->exited_ns, 0);
  }
  found.after_reboot = record.process && record.process->boot_id != boot_id();
  owner_.containers_.emplace(container->id, container);
  if (!container->spec->name.empty()) {
    owner_.names_.emplace(container->spec->name, container->id);
  }
  found.container = std::move(container);
  return {};
}

// It runs: no reboot, but its record in the runtime directory was damaged or removed.
Result<void> Recovery::take_copy(ContainerRecord record, const std::string& bytes) {
  found_.push_back({.container = nullptr, .record = std::move(record)});
  Result<void> taken = take(found_.back());
  if (!taken) found_.pop_back();
  if (!taken) return {};  // as with any record that this executor does not understand
  const std::string directory = owner_.runtime_dir_of(*found_.back().container);
  GANTRY_TRY(sys::ensure_directory_at(AT_FDCWD, directory.c_str(), 0700));
  DirFd dir = GANTRY_TRY(DirFd::open(directory));
  return write_record(dir.get(), "record", bytes, Durability::memory);
}

// What a reboot has left of those that are registered: they have ended, and some run again.
Co<Result<void>> Recovery::read_registered() {
  Registrations registrations = GANTRY_CO_TRY(co_await offload(
      [data_dir = owner_.config_.data_dir] { return read_registrations(data_dir); }));
  std::ranges::move(registrations.damaged, std::back_inserter(owner_.damaged_));
  for (const std::string& bytes : registrations.records) {
    Result<ContainerRecord> record = parse_record(bytes);
    if (!record || owner_.find(record->id)) continue;
    if (record->process && is_running(*record->process)) {
      GANTRY_CO_TRY(take_copy(std::move(*record), bytes));
      continue;
    }
    if (record->state != ContainerState::created) end_in_reboot(*record);
    record->process.reset();
    record->isolators.clear();
    found_.push_back({.container = nullptr, .record = std::move(*record)});
    Result<void> taken = take(found_.back());
    if (!taken) {
      found_.pop_back();
      continue;
    }
    Found& found = found_.back();
    found.after_reboot = true;
    GANTRY_CO_TRY(
        sys::ensure_directory_at(AT_FDCWD, owner_.runtime_dir_of(*found.container).c_str(), 0700));
    GANTRY_CO_TRY(owner_.write_record(*found.container));
  }
  co_return Result<void>();
}

Result<void> Recovery::link_nested() {
  // Parents first: an id is its parent's, a dot and something.
  std::ranges::sort(found_, {}, [](const Found& found) { return found.container->id.to_string(); });
  std::vector<Found> linked;
  for (Found& found : found_) {
    Container& container = *found.container;
    if (container.id.parent() == nullptr || owner_.find(*container.id.parent())) {
      if (container.id.parent() != nullptr) {
        container.parent = owner_.find(*container.id.parent());
        container.parent->nested.insert(container.id);
      }
      linked.push_back(std::move(found));
      continue;
    }
    DirFd dir = GANTRY_TRY(DirFd::open(cat(owner_.config_.runtime_dir, "/containers")));
    GANTRY_TRY(remove_tree_at(dir.get(), container.directory_name()));
    owner_.containers_.erase(container.id);
  }
  found_ = std::move(linked);
  return {};
}

Co<Result<void>> Recovery::classify() {
  for (KnownChild& child : GANTRY_CO_TRY(co_await owner_.parts_.backend.recover())) {
    std::string key = child.key;
    children_.emplace(std::move(key), std::move(child));
  }
  for (Found& found : found_) {
    auto known = children_.find(found.container->id.hash());
    // A half-made restore is undone, whatever of it lives.
    bool was_started =
        found.record.process.has_value() && found.record.state != ContainerState::restoring;
    bool ended = found.record.state == ContainerState::exited ||
                 (known != children_.end() && known->second.exit);
    if (was_started && !ended) GANTRY_CO_TRY(adopt(found));
  }
  co_return Result<void>();
}

Result<void> Recovery::adopt(Found& found) {
  Container& container = *found.container;
  Result<ProcessRef> process = ProcessRef::open(*found.record.process);
  // Gone: settle() asks the back end how it ended.
  if (!process && process.error().is(Errc::not_found)) return {};
  if (!process) return std::move(process).error();
  container.process.emplace(std::move(*process));
  if (container.started_ns == 0) container.started_ns = container.created_ns;
  bool paused = found.record.state == ContainerState::paused;
  container.restore_state(paused ? ContainerState::paused : ContainerState::running);
  found.adopt = true;
  return {};
}

Co<Result<void>> Recovery::recover_parts() {
  std::set<std::string> snapshots;
  for (const Found& found : found_) {
    const std::string& key = found.container->rootfs.snapshot_key;
    if (!key.empty()) snapshots.insert(key);
  }
  for (Isolator* isolator : owner_.parts_.isolators) {
    std::vector<RecoveredContainer> known;
    for (const Found& found : found_) {
      // Those that merely ended keep their kernel objects until settle(): what their counters
      // say (an OOM kill) belongs into the outcome.
      if (found.record.state == ContainerState::exited ||
          found.record.state == ContainerState::created ||
          (found.container->parent && !isolator->is_for_nested())) {
        continue;
      }
      auto bytes = found.record.isolators.find(std::string(isolator->name()));
      known.push_back(
          {.id = found.container->id,
           .cgroup_name = ContainerCgroups::name_of(found.container->id),
           .process = found.record.process.value_or(ProcessIdentity{}),
           .isolator_record = bytes == found.record.isolators.end() ? std::string() : bytes->second,
           .spec = found.container->spec.get()});
    }
    note_left(isolator->name(), co_await isolator->recover(known));
  }
  note_left("images", co_await owner_.parts_.provisioner.recover(snapshots));
  for (Found& found : found_) {
    // An image that cannot be read any more leaves the request's own words.
    const bool is_created = found.record.state == ContainerState::created;
    if (found.record.process || is_created)
      (co_await complete_spec(*found.container)).ignore("see above");
    Container& container = *found.container;
    if (!container.parent) continue;
    container.spec = std::make_shared<const ContainerSpec>(
        nested_spec(*container.spec, *container.parent->spec));
  }
  co_return Result<void>();
}

// One thing that does not go must not keep all containers from being looked after.
void Recovery::note_left(std::string_view what, const Result<void>& recovered) {
  if (!recovered) owner_.left_behind_.push_back(cat(what, ": ", recovered.error().to_string()));
}

// The record has the request; what the image added to it is taken over once more.
Co<Result<void>> Recovery::complete_spec(Container& container) {
  if (container.rootfs.snapshot_key.empty()) co_return Result<void>();
  Provisioner& provisioner = owner_.parts_.provisioner;
  ImageInfo image =
      GANTRY_CO_TRY(provisioner.image(GANTRY_CO_TRY(ImageRef::parse(container.image_digest))));
  ContainerSpec spec = *container.spec;
  GANTRY_CO_TRY(
      co_await take_over_image(provisioner, *image.config, container.rootfs.snapshot_key, spec));
  container.spec = std::make_shared<const ContainerSpec>(std::move(spec));
  co_return Result<void>();
}

Co<void> Recovery::settle_one(Found& found) {
  co_await settle(found);
  GANTRY_FAILPOINT("recover.after_one");
}

Co<void> Recovery::settle(Found& found) {
  ContainerPtr container = found.container;
  if (found.adopt) {
    co_await fit_freezer(*container);
    owner_.read_health(*container);
    owner_.start_watching(container);
    if (container->spec->is_session) {
      // Its client was the dead executor's.
      (co_await owner_.kill_all(container->id)).ignore("tried again with its parent's end");
    }
    co_return;
  }
  auto known = children_.find(container->id.hash());
  if (is_to_go(*container)) {
    (co_await owner_.backend().forget(container->id.hash())).ignore("it may not be known");
    co_await patiently(owner_.end_removal(container));
    co_return;
  }
  if (found.record.state == ContainerState::exited) {
    if (known != children_.end()) co_await owner_.flush_output(container);
    co_await owner_.forget_process(container);
    if (container->spec->remove_on_exit) owner_.scope_.spawn(owner_.remove_when_read(container));
    co_return;
  }
  if (found.record.state == ContainerState::created) co_return;
  if (found.record.state == ContainerState::restoring) {
    container->former_outcome = std::exchange(container->outcome, std::nullopt);
    container->former_exited_ns = container->exited_ns;
    container->isolators_touched = true;
    co_await patiently(owner_.undo_restore(container));
    co_return;
  }
  bool ran = found.record.process.has_value();
  const ExitOutcome never_ran{ExitOutcome::Kind::failed, 0, false,
                              "the executor was killed while it was launching this container"};
  ExitOutcome outcome = never_ran;
  if (ran) {
    outcome = {ExitOutcome::Kind::lost, 0, false, "nobody saw how it ended"};
    if (found.after_reboot) outcome = lost_in_reboot();
    // Exits without an executor are in the launcher's table; without a launcher the kernel may
    // know.
    if (known != children_.end()) {
      Result<ExitRecord> exit = co_await owner_.parts_.backend.wait_exit(container->id.hash());
      if (exit && !exit->has_execed) {
        ran = false;
        outcome = never_ran;
      } else if (exit) {
        container->exited_ns = exit->exit_time_ns;
        outcome = co_await owner_.explain_exit(container, *exit);
        // ORDER: as in finish(), which does it only for those whose process it has.
        co_await owner_.flush_output(container);
      } else if (found.record.state == ContainerState::launching) {
        outcome.reason = "executor and launcher died while it was being started";
      } else {
        outcome.reason = exit.error().to_string();
      }
    }
  }
  container->restore_state(ContainerState::launching);
  container->isolators_touched = true;
  // A restart that was cut short: it is as its former run had ended.
  if (!ran && container->former_outcome) {
    outcome = *container->former_outcome;
    container->exited_ns = container->former_exited_ns;
    ran = true;
  }
  // The first start of a created one was: it is not forgotten for that.
  if (!ran && container->ran_before) ran = true;
  // One that was cloned before we died and knew it met end-of-file on its pipe, and is ending.
  const bool is_child = !found.record.process && known != children_.end();
  co_await patiently(owner_.end_recovered(
      container, std::move(outcome), ran, is_child,
      found.after_reboot ? Containerizer::AfterReboot::yes : Containerizer::AfterReboot::no));
}

// Goes on by itself when it takes long: whatever is stuck in the kernel holds up no other
// container.
Co<void> Recovery::patiently(Co<void> work) {
  auto done = std::make_shared<bool>(false);
  auto ended = std::make_shared<Event>(owner_.executor_);
  owner_.scope_.spawn(
      [](Co<void> inner, std::shared_ptr<bool> is_done, std::shared_ptr<Event> wake) -> Co<void> {
        co_await std::move(inner);
        *is_done = true;
        wake->notify();
      }(std::move(work), done, ended));
  while (!*done) {
    const auto left = patience_ - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) co_return;
    co_await ended->wait(left);
  }
}

// Ended or never started, and being removed, or forgotten after a failed launch.
bool Recovery::is_to_go(const Container& container) const {
  const bool is_at_rest =
      container.state() == ContainerState::exited || container.state() == ContainerState::created;
  if (!is_at_rest) return false;
  const bool has_failed = container.outcome &&
                          container.outcome->kind == ExitOutcome::Kind::failed &&
                          !container.ran_before;
  return has_failed || ::access(owner_.removal_note_of(container).c_str(), F_OK) == 0;
}

// A checkpoint or restore that died has frozen it, or has thawed it.
Co<void> Recovery::fit_freezer(const Container& container) {
  Result<void> done = container.state() == ContainerState::paused
                          ? co_await owner_.parts_.cgroups.freeze(container.id)
                          : co_await owner_.parts_.cgroups.thaw(container.id);
  done.ignore("it is ending, or this host has no freezer");
}

Result<void> Recovery::remove_orphan_sandboxes() {
  std::set<std::string> ours;
  for (auto& [id, container] : owner_.containers_) ours.insert(container->directory_name());
  std::string base = cat(owner_.config_.data_dir, "/sandboxes");
  for (const std::string& name : GANTRY_TRY(names_in(AT_FDCWD, base.c_str()))) {
    if (!ours.contains(name)) unknown_sandboxes_.push_back(cat(base, "/", name));
  }
  return {};
}
}  // namespace gantry
