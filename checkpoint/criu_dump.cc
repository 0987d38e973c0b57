// A dump. CRIU starts before the tasks are frozen, so that they stand still only while they are
// written. A checkpoint is finished by its rename: after the tasks' end is certain, or after they
// run again.
#include <fcntl.h>
#include <linux/limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/cgroup_fs.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "checkpoint/criu_operation.h"
#include "checkpoint/image_set.h"
#include "checkpoint/mount_table.h"
#include "checkpoint/task_state.h"

namespace gantry {
namespace {
constexpr auto kFreezeLimit = std::chrono::seconds(10);
constexpr auto kGiveUpLimit = std::chrono::seconds(1);  // the tasks are dying anyway
constexpr auto kThawLimit = std::chrono::seconds(10);
constexpr char kLog[] = "dump.log";
constexpr int kLogLevel = 2;  // errors and warnings: nobody keeps the rest
constexpr char kNetworkName[] = "network";

// What is found in the frozen tasks.
struct Findings {
  std::vector<TaskState> tasks;
  std::vector<ExternalMount> mounts;
  std::vector<std::pair<int, std::string>> stdio;  // number, CRIU's key
  std::vector<std::string> outside_files;          // keys of descriptors opened outside
  std::optional<uint64_t> network_inode;           // a network namespace of its own
};

Result<std::string> read_link(const std::string& path) {
  char target[PATH_MAX];
  ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  if (n < 0) return Error::from_errno(errno, cat("read ", path));
  return std::string(target, static_cast<size_t>(n));
}

Result<bool> is_shared_with_us(pid_t pid, std::string_view name) {
  std::string theirs = GANTRY_TRY(read_link(cat("/proc/", pid, "/ns/", name)));
  std::string ours = GANTRY_TRY(read_link(cat("/proc/self/ns/", name)));
  return theirs == ours;
}

// The tasks, every one of them below the first. CRIU would silently leave the others out.
Result<std::vector<std::pair<pid_t, TaskState>>> find_tasks(const std::vector<pid_t>& pids,
                                                            pid_t first) {
  std::vector<std::pair<pid_t, TaskState>> out;
  for (pid_t pid : pids) out.emplace_back(pid, GANTRY_TRY(read_task_state(pid)));
  auto has = [&](pid_t pid) { return std::find(pids.begin(), pids.end(), pid) != pids.end(); };
  if (!has(first)) return Error(Errc::not_found, "its first process is not in its cgroup");
  for (auto& [pid, state] : out) {
    if (pid != first && !has(state.parent)) {
      return Error(Errc::busy, cat("process ", pid, " was started in it by exec; end it first"));
    }
  }
  return out;
}

// Standard descriptors that came from outside. CRIU keeps pipes by their inode by itself; /dev/null
// of the host must be named.
Result<void> find_stdio(pid_t pid, const std::set<int>& own_mounts, Findings& out) {
  for (int number = 0; number < 3; ++number) {
    Result<std::string> target = read_link(cat("/proc/", pid, "/fd/", number));
    if (!target) continue;  // closed
    if (target->starts_with("pipe:")) {
      out.stdio.emplace_back(number, *target);
      continue;
    }
    std::string info = GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/fdinfo/", number)));
    struct stat st;
    int mount = -1;
    for (std::string_view line : split(info, '\n')) {
      if (line.starts_with("mnt_id:")) parse_number(trim(line.substr(7)), mount);
    }
    if (own_mounts.contains(mount)) continue;
    if (::stat(cat("/proc/", pid, "/fd/", number).c_str(), &st) != 0) {
      return Error::from_errno(errno, cat("stat descriptor ", number));
    }
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
      return Error(Errc::unsupported,
                   cat("descriptor ", number, " is ", *target, ", which was opened outside of it"));
    }
    char key[64];
    std::snprintf(key, sizeof key, "file[%x:%lx]", static_cast<unsigned>(mount), st.st_ino);
    out.stdio.emplace_back(number, key);
    if (std::find(out.outside_files.begin(), out.outside_files.end(), key) ==
        out.outside_files.end()) {
      out.outside_files.emplace_back(key);
    }
  }
  return {};
}

// Runs on the offload pool, on frozen tasks.
Result<Findings> inspect(const CheckpointRequest& request, const std::vector<pid_t>& pids) {
  const pid_t first = request.process.pid;
  for (std::string_view name : {"pid", "mnt"}) {
    if (GANTRY_TRY(is_shared_with_us(first, name))) {
      return Error(Errc::unsupported, cat("it shares the host's ", name, " namespace"));
    }
  }
  Findings out;
  if (!GANTRY_TRY(is_shared_with_us(first, "net"))) {
    struct stat st;
    if (::stat(cat("/proc/", first, "/ns/net").c_str(), &st) != 0) {
      return Error::from_errno(errno, "stat its network namespace");
    }
    out.network_inode = st.st_ino;
  }
  std::vector<MountEntry> mounts = GANTRY_TRY(mounts_of(first));
  out.mounts = GANTRY_TRY(find_external_mounts(mounts, GANTRY_TRY(host_devices()), request.mounts));
  std::set<int> own;
  for (const MountEntry& mount : mounts) own.insert(mount.id);
  for (auto& [pid, state] : GANTRY_TRY(find_tasks(pids, first))) {
    out.tasks.push_back(state);
    if (pid == first) GANTRY_TRY(find_stdio(pid, own, out));
  }
  return out;
}

criu::Request make_request(const CheckpointRequest& request, const Findings& found, int images,
                           int work) {
  criu::Request out;
  out.set_type(criu::DUMP);
  criu::Options& options = *out.mutable_opts();
  options.set_images_dir_fd(images);
  options.set_work_dir_fd(work);
  options.set_pid(request.process.pid);
  options.set_log_level(kLogLevel);
  options.set_log_file(kLog);
  options.set_notify_scripts(true);
  options.set_leave_running(request.leave_running);
  options.set_tcp_established(request.tcp_established);
  options.set_file_locks(request.file_locks);
  options.set_evasive_devices(true);
  options.set_link_remap(false);
  options.set_ghost_limit(64u << 20);
  options.set_freeze_cgroup(request.freezer);
  options.set_manage_cgroups(true);
  options.set_manage_cgroups_mode(criu::IGNORE);
  options.set_network_lock(criu::SKIP);
  options.set_timeout(10);
  if (found.network_inode) {
    options.add_external(cat("net[", *found.network_inode, "]:", kNetworkName));
  }
  for (const std::string& key : found.outside_files) options.add_external(key);
  for (const ExternalMount& mount : found.mounts) {
    criu::ExternalMount& external = *options.add_ext_mnt();
    external.set_key(mount.mountpoint);
    external.set_value(mount.name);
  }
  return out;
}

criu::Checkpoint make_record(const CheckpointRequest& request, const Findings& found,
                             const std::string& criu_version) {
  criu::Checkpoint out;
  out.set_criu_version(criu_version);
  criu::RecordedProcess& process = *out.mutable_process();
  process.set_pid(request.process.pid);
  process.set_start_time(request.process.start_time);
  process.set_boot_id(request.process.boot_id);
  out.set_container_id(request.id.to_string());
  out.set_identity(request.identity);
  out.set_created_ns(sys::realtime_ns());
  utsname host;
  if (::uname(&host) == 0) out.set_kernel(host.release);
  out.set_boot_id(boot_id());
  if (found.network_inode) out.set_network_name(kNetworkName);
  for (const ExternalMount& mount : found.mounts) {
    criu::RecordedMount& recorded = *out.add_mounts();
    recorded.set_mountpoint(mount.mountpoint);
    recorded.set_name(mount.name);
    recorded.set_is_mask(mount.is_mask);
  }
  for (auto& [number, key] : found.stdio) {
    criu::RecordedStdio& recorded = *out.add_stdio();
    recorded.set_number(number);
    recorded.set_key(key);
  }
  for (const TaskState& task : found.tasks) {
    criu::RecordedTask& recorded = *out.add_tasks();
    recorded.set_pid(task.pid);
    recorded.set_uids(task.uids);
    recorded.set_gids(task.gids);
    recorded.set_groups(task.groups);
    recorded.set_effective(task.effective);
    recorded.set_permitted(task.permitted);
    recorded.set_inheritable(task.inheritable);
    recorded.set_bounding(task.bounding);
    recorded.set_ambient(task.ambient);
    recorded.set_no_new_privileges(task.no_new_privileges);
    recorded.set_seccomp(task.seccomp);
  }
  return out;
}

// KERNEL: CRIU waits for ever for tasks that die under it: their pid namespace's first process
// waits for the others, which CRIU traces.
bool is_ending(const ProcessRef& process) {
  constexpr unsigned kExiting = 4;  // PF_EXITING of the flags, the seventh word behind the name
  std::string text = sys::read_file(cat("/proc/", process.pid(), "/stat")).value_or(std::string());
  std::vector<std::string_view> words =
      split(std::string_view(text).substr(std::min(text.size(), text.rfind(')') + 2)), ' ');
  unsigned flags = 0;
  if (words.size() < 7 || !parse_number(words[6], flags)) return true;
  return process.ended() || (flags & kExiting) != 0;
}

class Dump {
 public:
  Dump(CriuHost host, std::string program, CheckpointRequest request)
      : host_(host),
        program_(std::move(program)),
        request_(std::move(request)),
        directory_(unfinished_path(request_.directory)) {}

  Co<Result<CheckpointStats>> run() {
    ProcessRef process = GANTRY_CO_TRY(ProcessRef::open(request_.process));
    UniqueFd freezer =
        GANTRY_CO_TRY(sys::open(request_.freezer, O_PATH | O_DIRECTORY).context("its freezer"));
    const std::string directory = directory_;
    GANTRY_CO_TRY(co_await offload([directory] { return create_checkpoint_directory(directory); }));
    Result<void> done = co_await write_out(process, freezer.get());
    if (request_.leave_running) {
      if (done) done = co_await seal();
    } else {
      done = co_await confirm_end(process, std::move(done));
    }
    watch_.step("end");
    if (done) done = co_await finish();
    if (!done) {
      // Nothing of the attempt stays.
      (co_await uncancellable(offload([directory] {
        return remove_checkpoint_directory(directory);
      }))).ignore("the first error counts; it is no checkpoint without a record");
      co_return std::move(done).error();
    }
    watch_.step("finish");
    stats_.total = since(start_);
    stats_.steps = watch_.take();
    co_return stats_;
  }

 private:
  // From CRIU's start to its end; what lives afterwards is as it was before.
  Co<Result<void>> write_out(const ProcessRef& process, int freezer) {
    std::unique_ptr<CriuProcess> criu =
        GANTRY_CO_TRY(co_await CriuProcess::start(host_, program_, {}, LaunchPlan::Builder(), {}));
    criu->session().set_hopeless([this, &process] { return !is_sealed_ && is_ending(process); });
    watch_.step("start criu");
    frozen_at_ = std::chrono::steady_clock::now();
    Result<void> done =
        co_await cgroup::freeze_at(freezer, "", request_.freezer_is_v2, kFreezeLimit);
    watch_.step("freeze");
    if (done) done = co_await converse(*criu, freezer);
    co_await (!done && is_ending(process) ? criu->close(kGiveUpLimit) : criu->close());
    Result<void> settled = co_await settle_freezer(freezer, done.has_value());
    if (done && !settled) done = std::move(settled);
    stats_.frozen = since(frozen_at_);
    watch_.step("let go");
    co_return done;
  }

  // KERNEL: a v1-frozen task dies of CRIU's SIGKILL only when thawed.
  Co<Result<void>> settle_freezer(int freezer, bool is_dumped) {
    const bool is_ending = is_dumped && !request_.leave_running;
    if (request_.is_paused && !is_ending) {
      // CRIU has thawed it on its way, should it have died then.
      return cgroup::freeze_at(freezer, "", request_.freezer_is_v2, kFreezeLimit);
    }
    return cgroup::thaw_at(freezer, "", request_.freezer_is_v2, kThawLimit);
  }

  Co<Result<void>> converse(CriuProcess& criu, int freezer) {
    std::vector<pid_t> pids = GANTRY_CO_TRY(cgroup::processes_at(freezer, ""));
    CheckpointRequest request = request_;
    Findings found =
        GANTRY_CO_TRY(co_await offload([request, pids] { return inspect(request, pids); }));
    record_ = make_record(request_, found, criu.version());
    watch_.step("inspect");
    UniqueFd images = GANTRY_CO_TRY(open_images(directory_));
    Result<criu::Answer> answer = co_await criu.session().call(
        make_request(request_, found, images.get(), criu.work_directory()),
        [this](CriuSession::Notice notice) { return on_notice(std::move(notice)); },
        start_ + request_.limit);
    if (!answer) co_return criu.with_reason(std::move(answer).error(), kLog);
    co_return Result<void>();
  }

  Co<Result<void>> on_notice(CriuSession::Notice notice) {
    if (notice.script == "pre-dump") GANTRY_FAILPOINT_CO_TRY("checkpoint.pre_dump");
    if (notice.script != "post-dump") co_return Result<void>();
    watch_.step("criu writes");
    // Everything is written and the tasks stand still: the last moment to say no.
    GANTRY_FAILPOINT_CO_TRY("checkpoint.post_dump");
    // ORDER: before CRIU kills them the images must survive a power cut; tasks that live on need
    // not wait for that.
    if (!request_.leave_running) GANTRY_CO_TRY(co_await seal());
    GANTRY_FAILPOINT_CO_TRY("checkpoint.after_seal");
    co_return Result<void>();
  }

  Co<Result<void>> seal() {
    std::string directory = directory_;
    criu::Checkpoint record = record_;
    stats_.size = GANTRY_CO_TRY(co_await offload(
        [directory, record]() mutable { return seal_checkpoint(directory, record); }));
    is_sealed_ = true;
    watch_.step("digest and sync");
    co_return Result<void>();
  }

  // CRIU kills the tasks once the images are sealed. Should it die right then, what happened to the
  // tasks decides: ended, the checkpoint is all there is of them; alive, it is void.
  Co<Result<void>> confirm_end(const ProcessRef& process, Result<void> done) {
    if (!done && !is_sealed_) co_return done;
    const auto limit = done ? std::chrono::seconds(10) : std::chrono::seconds(2);
    Result<void> ended = co_await wait_fd(process.pidfd(), Readiness::read, limit);
    if (ended) co_return Result<void>();
    if (!done) co_return done;
    co_return std::move(ended).context("wait for the checkpointed processes to end");
  }

  Co<Result<void>> finish() {
    GANTRY_FAILPOINT_CO_TRY("checkpoint.before_finish");
    std::string from = directory_, to = request_.directory;
    co_return co_await offload([from, to] { return finish_checkpoint(from, to); });
  }

  CriuHost host_;
  std::string program_;
  CheckpointRequest request_;
  std::string directory_;  // until it is finished
  criu::Checkpoint record_;
  CheckpointStats stats_;
  Stopwatch watch_;
  bool is_sealed_ = false;
  const SteadyTime start_ = std::chrono::steady_clock::now();
  SteadyTime frozen_at_;
};
}  // namespace

Co<Result<CheckpointStats>> run_dump(CriuHost host, std::string program,
                                     CheckpointRequest request) {
  Dump dump(host, std::move(program), std::move(request));
  co_return co_await dump.run();
}
}  // namespace gantry
