// A restore. CRIU is born in the container's cgroups and in a mount namespace where the container's
// root is mounted; what it makes is its sibling, so the launcher's child. Before CRIU lets the
// tasks go they are frozen and compared with what the request allows; the caller thaws them. Until
// then nothing of them runs, whenever we die: CRIU waits for an answer that does not come, and the
// next executor kills the tasks, then CRIU.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <optional>

#include "base/cgroup_fs.h"
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
constexpr int kLogLevel = 2;  // errors and warnings: nobody keeps the rest
constexpr auto kFreezeLimit = std::chrono::seconds(10);
constexpr auto kLetGoLimit = std::chrono::seconds(5);   // when all is made
constexpr auto kGiveUpLimit = std::chrono::seconds(1);  // nothing of it shall stay

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

// Compares all that the images made with what is allowed. Runs on the offload pool, on frozen
// tasks.
struct Inspection {
  pid_t first;
  std::vector<TaskState> dumped;
  SecuritySpec allowed;
  Credentials user;
  std::vector<HostMount> mounts;

  Result<void> operator()() const {
    for (pid_t pid : GANTRY_TRY(tree_of(first))) {
      TaskState task = GANTRY_TRY(read_task_state(pid));
      // KERNEL: a cgroup's list leaves them out, so the record does.
      if (task.is_zombie) continue;
      GANTRY_TRY(check_task(task, dumped, allowed, user));
    }
    (void)GANTRY_TRY(
        find_external_mounts(GANTRY_TRY(mounts_of(first)), GANTRY_TRY(host_devices()), mounts));
    return {};
  }
};

class Restore {
 public:
  Restore(CriuHost host, std::string program, RestoreRequest request)
      : host_(host), program_(std::move(program)), request_(std::move(request)) {}

  Co<Result<RestoredProcess>> run() {
    const std::string directory = request_.directory;
    record_ = GANTRY_CO_TRY(co_await offload([directory]() -> Result<criu::Checkpoint> {
      criu::Checkpoint record = GANTRY_TRY(read_checkpoint(directory));
      GANTRY_TRY(verify_images(directory, record));
      return record;
    }));
    watch_.step("verify");
    freezer_ =
        GANTRY_CO_TRY(sys::open(request_.freezer, O_PATH | O_DIRECTORY).context("its freezer"));
    Result<void> done = co_await bring_back();
    if (!done) {
      (co_await uncancellable(end_process())).ignore("the first error counts");
      co_return std::move(done).error();
    }
    co_return RestoredProcess{std::move(*process_), watch_.take()};
  }

 private:
  Co<Result<void>> bring_back() {
    GANTRY_CO_TRY(find_mounts());
    GANTRY_CO_TRY(co_await collect_descriptors());
    std::vector<std::string> paths = {request_.root};
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
    std::unique_ptr<CriuProcess> criu = GANTRY_CO_TRY(
        co_await CriuProcess::start(host_, program_, paths, std::move(plan), std::move(inherited_),
                                    CriuProcess::IfWeDie::wait));
    watch_.step("start criu");
    Result<void> done = co_await converse(*criu);
    co_await (done ? criu->close() : criu->close(kGiveUpLimit));
    watch_.step("let go");
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
    options.set_log_level(kLogLevel);
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

  Co<Result<void>> converse(CriuProcess& criu) {
    UniqueFd images = GANTRY_CO_TRY(open_images(request_.directory));
    helper_ = criu.session().pid();
    Result<criu::Answer> answer = co_await criu.session().call(
        make_request(images.get(), criu.work_directory()),
        [this, &criu](CriuSession::Notice notice) { return on_notice(criu, std::move(notice)); },
        start_ + request_.limit);
    if (!answer) co_return criu.with_reason(std::move(answer).error(), kLog);
    if (!process_) co_return Error(Errc::conflict, "criu made no process");
    co_return Result<void>();
  }

  Co<Result<void>> on_notice(CriuProcess& criu, CriuSession::Notice notice) {
    if (notice.script == "post-restore") co_return co_await take(notice.pid);
    if (notice.script == "pre-resume" && process_) co_return co_await hold();
    // KERNEL: CRIU waits for a first process that it killed, and that for one which CRIU still
    // traces: for ever.
    if (notice.script == "network-unlock") criu.session().must_end_within(kLetGoLimit);
    co_return Result<void>();
  }

  // The last notification that can say no: the process becomes the launcher's, and whatever only
  // its parent can do is done.
  Co<Result<void>> take(pid_t pid) {
    watch_.step("criu makes");
    GANTRY_FAILPOINT_CO_TRY("restore.post_restore");
    process_ = GANTRY_CO_TRY(
        (co_await host_.backend.adopt(request_.key, pid, LaunchBackend::Adoptee::as_it_is,
                                      std::move(request_.io)))
            .context("adopt"));
    if (request_.before_resume) GANTRY_CO_TRY(co_await request_.before_resume(*process_));
    watch_.step("isolate");
    // ORDER: before the freeze, which CRIU would not survive.
    std::string group = request_.helper_cgroup;
    GANTRY_CO_TRY(co_await offload([group, helper = helper_] {
      return sys::write_file(cat(group, "/cgroup.procs"), cat(helper)).context("move criu aside");
    }));
    watch_.step("move criu aside");
    co_return Result<void>();
  }

  // All tasks are stopped on their last instruction, with the credentials they will have. KERNEL: a
  // refusal is too late here, CRIU would let them run: the freezer holds them.
  Co<Result<void>> hold() {
    GANTRY_FAILPOINT_CO_TRY("restore.before_freeze");
    GANTRY_CO_TRY(
        co_await cgroup::freeze_at(freezer_.get(), "", request_.freezer_is_v2, kFreezeLimit));
    watch_.step("freeze");
    GANTRY_FAILPOINT_CO_TRY("restore.pre_resume");
    Result<void> allowed =
        co_await offload(Inspection{process_->pid(), recorded_tasks(record_), request_.security,
                                    request_.user, request_.mounts});
    watch_.step("compare");
    co_return allowed;
  }

  // Processes that exist but may not live: gone, and forgotten by the launcher.
  Co<Result<void>> end_process() {
    if (!process_) co_return Result<void>();
    (co_await cgroup::kill_at(freezer_.get(), "", request_.freezer_is_v2, kFreezeLimit))
        .ignore("the first process takes its pid namespace with it");
    process_->signal(SIGKILL).ignore("it is dead already");
    (co_await host_.backend.wait_exit(request_.key)).ignore("how it ended does not matter");
    co_return co_await host_.backend.forget(request_.key);
  }

  CriuHost host_;
  std::string program_;
  RestoreRequest request_;
  UniqueFd freezer_;
  pid_t helper_ = 0;  // CRIU
  criu::Checkpoint record_;
  std::vector<ExternalMount> mounts_;
  std::vector<std::string> keys_;
  CriuSession::Inherited inherited_;
  std::optional<ProcessRef> process_;
  Stopwatch watch_;
  const SteadyTime start_ = std::chrono::steady_clock::now();
};
}  // namespace

Co<Result<RestoredProcess>> run_restore(CriuHost host, std::string program,
                                        RestoreRequest request) {
  Restore restore(host, std::move(program), std::move(request));
  co_return co_await restore.run();
}
}  // namespace gantry
