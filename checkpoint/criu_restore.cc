// A restore: the order is reference/criu.md §2.3. CRIU runs in the container's cgroups and in a
// mount namespace where the container's root is mounted; what it makes is its sibling, so the
// launcher's child. Nothing runs before the tasks were compared with what the request allows.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <optional>

#include "base/failpoint.h"
#include "base/sys.h"
#include "checkpoint/criu_operation.h"
#include "checkpoint/image_set.h"
#include "checkpoint/mount_table.h"
#include "checkpoint/netns.h"
#include "checkpoint/task_state.h"

namespace gantry {
namespace {
constexpr char kLog[] = "restore.log";

std::vector<TaskState> recorded_tasks(const criu::Checkpoint& record) {
  std::vector<TaskState> out;
  for (const criu::RecordedTask& task : record.tasks()) {
    TaskState state;
    state.pid = task.pid();
    state.uids = task.uids();
    state.gids = task.gids();
    state.groups = task.groups();
    state.effective = task.effective();
    state.permitted = task.permitted();
    state.inheritable = task.inheritable();
    state.bounding = task.bounding();
    state.ambient = task.ambient();
    state.no_new_privileges = task.no_new_privileges();
    state.seccomp = task.seccomp();
    out.push_back(std::move(state));
  }
  return out;
}

// The processes of the tree below `first`, itself included.
Result<std::vector<pid_t>> tree_of(pid_t first) {
  std::vector<pid_t> out = {first};
  for (size_t i = 0; i < out.size(); ++i) {
    std::string children =
        GANTRY_TRY(sys::read_file(cat("/proc/", out[i], "/task/", out[i], "/children"), 4u << 20));
    size_t at = 0;
    while (at < children.size()) {
      size_t space = children.find(' ', at);
      if (space == std::string::npos) break;
      pid_t pid = 0;
      if (parse_number(std::string_view(children).substr(at, space - at), pid)) out.push_back(pid);
      at = space + 1;
    }
  }
  return out;
}

Result<void> check_tree(pid_t first, const std::vector<TaskState>& dumped,
                        const SecuritySpec& allowed) {
  std::vector<pid_t> pids = GANTRY_TRY(tree_of(first));
  for (pid_t pid : pids) {
    GANTRY_TRY(check_task(GANTRY_TRY(read_task_state(pid)), dumped, allowed));
  }
  return {};
}

class Restore {
 public:
  Restore(LaunchBackend& backend, CriuSettings settings, RestoreRequest request)
      : backend_(backend), settings_(std::move(settings)), request_(std::move(request)) {}

  Co<Result<RestoredProcess>> run() {
    std::string program = GANTRY_CO_TRY(find_criu(settings_.program));
    const std::string directory = request_.directory;
    record_ = GANTRY_CO_TRY(co_await offload([directory]() -> Result<criu::Checkpoint> {
      criu::Checkpoint record = GANTRY_TRY(read_checkpoint(directory));
      GANTRY_TRY(verify_images(directory, record));
      GANTRY_TRY(create_work(directory));
      return record;
    }));
    Result<void> done = co_await bring_back(std::move(program));
    if (!done) (co_await uncancellable(end_process())).ignore("the first error counts");
    (co_await offload([directory] {
      return remove_work(directory);
    })).ignore("the next operation empties it");
    if (!done) co_return std::move(done).error();
    co_return RestoredProcess{std::move(*process_), since(start_)};
  }

 private:
  Co<Result<void>> bring_back(std::string program) {
    GANTRY_CO_TRY(find_mounts());
    GANTRY_CO_TRY(co_await collect_descriptors());
    std::vector<std::string> paths = {program, request_.root};
    for (const ExternalMount& mount : mounts_) paths.push_back(mount.source);

    LaunchPlan::Builder plan = std::move(request_.plan);
    plan.reduce_to({Stage::cgroups, Stage::root}, 0);
    if (request_.cgroup_namespace) {
      // ORDER: after CRIU has moved into the container's cgroups: they are the namespace's root.
      Op unshare;
      unshare.kind = OpKind::kUnshare;
      unshare.a = CLONE_NEWCGROUP;
      plan.add(Stage::namespaces, unshare);
    }
    auto session = GANTRY_CO_TRY(
        co_await CriuSession::start(backend_, session_settings(settings_, program, paths),
                                    std::move(plan), std::move(inherited_)));
    Result<void> done = co_await converse(*session);
    (co_await uncancellable(session->close())).ignore("its answer is what counts");
    co_return done;
  }

  // Every mount the dump named, with a source from the request.
  Result<void> find_mounts() {
    for (const criu::RecordedMount& mount : record_.mounts()) {
      std::string source = source_of(mount.mountpoint(), request_.mounts);
      // A mask needs nobody's permission.
      if (source.empty() && mount.is_mask()) source = "/dev/null";
      if (source.empty()) {
        return Error(Errc::corrupt, cat("the checkpoint has a mount at ", mount.mountpoint(),
                                        " that the request does not name"));
      }
      mounts_.push_back({mount.mountpoint(), mount.name(), std::move(source), mount.is_mask()});
    }
    return {};
  }

  void inherit(std::string key, UniqueFd fd) {
    keys_.push_back(std::move(key));
    inherited_.push_back(std::move(fd));
  }

  // What CRIU inherits in place of what was outside: stdio, the network namespace.
  Co<Result<void>> collect_descriptors() {
    UniqueFd* given[] = {&request_.stdin_read, &request_.stdout_write, &request_.stderr_write};
    for (const criu::RecordedStdio& stdio : record_.stdio()) {
      if (std::find(keys_.begin(), keys_.end(), stdio.key()) != keys_.end()) continue;
      if (stdio.number() < 0 || stdio.number() > 2) {
        co_return Error(Errc::corrupt, "the checkpoint's record names no standard descriptor");
      }
      UniqueFd& fd = *given[stdio.number()];
      if (!fd) fd = GANTRY_CO_TRY(sys::open("/dev/null", O_RDWR));
      inherit(stdio.key(), std::move(fd));
    }
    if (record_.has_network_name()) {
      inherit(record_.network_name(), GANTRY_CO_TRY(co_await offload(make_network_namespace)));
    }
    co_return Result<void>();
  }

  criu::Request make_request(int images, int work) const {
    criu::Request out;
    out.set_type(criu::RESTORE);
    criu::Options& options = *out.mutable_opts();
    options.set_images_dir_fd(images);
    options.set_work_dir_fd(work);
    options.set_log_level(4);
    options.set_log_file(kLog);
    options.set_notify_scripts(true);
    options.set_rst_sibling(true);
    options.set_root(request_.root);
    options.set_evasive_devices(true);
    options.set_tcp_established(request_.tcp_established);
    options.set_file_locks(request_.file_locks);
    options.set_manage_cgroups(true);
    options.set_manage_cgroups_mode(criu::IGNORE);
    options.set_timeout(10);
    for (size_t i = 0; i < keys_.size(); ++i) {
      criu::InheritedFd& inherited = *options.add_inherit_fd();
      inherited.set_key(keys_[i]);
      inherited.set_fd(CriuSession::first_inherited() + static_cast<int>(i));
    }
    for (const ExternalMount& mount : mounts_) {
      criu::ExternalMount& external = *options.add_ext_mnt();
      external.set_key(mount.name);
      external.set_value(mount.source);
    }
    return out;
  }

  Co<Result<void>> converse(CriuSession& session) {
    UniqueFd images =
        GANTRY_CO_TRY(sys::open(cat(request_.directory, "/images"), O_RDONLY | O_DIRECTORY));
    UniqueFd work =
        GANTRY_CO_TRY(sys::open(cat(request_.directory, "/work"), O_RDONLY | O_DIRECTORY));
    Result<criu::Answer> answer = co_await session.call(
        make_request(images.get(), work.get()),
        [this](CriuSession::Notice notice) { return on_notice(std::move(notice)); },
        start_ + request_.limit);
    if (!answer) co_return with_reason(std::move(answer).error(), request_.directory, kLog);
    if (!process_) co_return Error(Errc::conflict, "criu made no process");
    co_return Result<void>();
  }

  Co<Result<void>> on_notice(CriuSession::Notice notice) {
    if (notice.script == "post-restore") co_return co_await take(notice.pid);
    if (notice.script == "pre-resume" && process_) {
      // All tasks are stopped on their last instruction, with the credentials they will have.
      GANTRY_FAILPOINT_CO_TRY("restore.pre_resume");
      const pid_t pid = process_->pid();
      std::vector<TaskState> dumped = recorded_tasks(record_);
      SecuritySpec allowed = request_.security;
      Result<void> legal =
          co_await offload([pid, dumped, allowed] { return check_tree(pid, dumped, allowed); });
      // KERNEL: a refusal is too late here, CRIU would let them run; the death of the first process
      // takes the whole pid namespace with it.
      if (!legal) process_->signal(SIGKILL).ignore("it is dead already");
      co_return legal;
    }
    co_return Result<void>();
  }

  // The last notification that can say no: the process becomes the launcher's, and whatever only
  // its parent can do is done.
  Co<Result<void>> take(pid_t pid) {
    GANTRY_FAILPOINT_CO_TRY("restore.post_restore");
    process_ = GANTRY_CO_TRY(
        (co_await backend_.adopt(request_.key, pid, std::move(request_.io))).context("adopt"));
    if (request_.before_resume) GANTRY_CO_TRY(co_await request_.before_resume(*process_));
    co_return Result<void>();
  }

  // A process that exists but may not live: gone, and forgotten by the launcher.
  Co<Result<void>> end_process() {
    if (!process_) co_return Result<void>();
    process_->signal(SIGKILL).ignore("CRIU has ended it already");
    (co_await backend_.wait_exit(request_.key)).ignore("how it ended does not matter");
    co_return co_await backend_.forget(request_.key);
  }

  LaunchBackend& backend_;
  CriuSettings settings_;
  RestoreRequest request_;
  criu::Checkpoint record_;
  std::vector<ExternalMount> mounts_;
  std::vector<std::string> keys_;
  CriuSession::Inherited inherited_;
  std::optional<ProcessRef> process_;
  const SteadyTime start_ = std::chrono::steady_clock::now();
};
}  // namespace

Co<Result<RestoredProcess>> run_restore(LaunchBackend& backend, CriuSettings settings,
                                        RestoreRequest request) {
  Restore restore(backend, std::move(settings), std::move(request));
  co_return co_await restore.run();
}
}  // namespace gantry
