#include "containerizer/launch.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/failpoint.h"
#include "base/sys.h"
#include "containerizer/nested.h"
#include "containerizer/sandbox.h"
#include "provisioner/merge_image_config.h"

namespace gantry {
namespace {
// Prepared children that are killed under a launch before it goes without.
constexpr int kMostPrepared = 3;
constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void set_env(std::vector<std::string>& env, std::string_view assignment, bool replace) {
  std::string_view name = assignment.substr(0, assignment.find('='));
  for (std::string& have : env) {
    if (have.size() > name.size() && have.starts_with(name) && have[name.size()] == '=') {
      if (replace) have = assignment;
      return;
    }
  }
  env.emplace_back(assignment);
}
// In a tmpfs of ours: nothing of the image is covered, and nothing is left in its root.
constexpr const char* kInitPath = "/dev/gantry-init";
// All of a spec that preludes depend on. (What is forgotten here only costs time: the preludes
// themselves are compared.)
std::string prelude_kind(const ContainerSpec& spec, const Rootfs& rootfs) {
  const NamespaceSpec& ns = spec.namespaces;
  std::string kind = cat(rootfs.kind == Rootfs::Kind::host ? "host" : "root", " ",
                         static_cast<int>(spec.network.mode == NetworkSpec::Mode::host));
  for (const NamespaceChoice* choice :
       {&ns.pid, &ns.mount, &ns.uts, &ns.ipc, &ns.cgroup, &ns.network}) {
    kind += cat(" ", static_cast<int>(choice->kind), choice->path);
  }
  kind += cat(" ", static_cast<int>(spec.security.masked_paths), " ",
              spec.process.oom_score_adj.value_or(0));
  for (const DeviceNode& node : spec.devices) {
    kind += cat(" ", node.path, node.type == 'b' ? " b " : " c ", node.major, ":", node.minor, " ",
                node.mode, " ", node.uid, ":", node.gid);
  }
  return kind;
}

HostMounts needed_mounts(const ContainerSpec& spec, const Rootfs& rootfs) {
  const bool has_slave = std::ranges::any_of(spec.mounts, [](const MountSpec& mount) {
    return mount.propagation != Propagation::private_ && mount.propagation != Propagation::rprivate;
  });
  return has_slave || rootfs.kind == Rootfs::Kind::host ? HostMounts::arriving
                                                        : HostMounts::present;
}

bool mounts_init(const ContainerSpec& spec) {
  return spec.process.init && !std::holds_alternative<HostRoot>(spec.root);
}
}  // namespace

Co<Result<void>> take_over_image(Provisioner& provisioner, const oci::ImageConfig& config,
                                 std::string snapshot_key, ContainerSpec& spec) {
  GANTRY_CO_TRY(merge_image_config(spec, config));
  spec.mounts = GANTRY_CO_TRY(
      co_await provisioner.prepare_volumes(std::move(snapshot_key), std::move(spec.mounts)));
  co_return Result<void>();
}

void mount_init(ContainerSpec& spec, const std::string& program) {
  if (!mounts_init(spec)) return;
  MountSpec mount;
  mount.source = program;
  mount.destination = kInitPath;
  mount.read_only = mount.nosuid = mount.nodev = true;
  spec.mounts.push_back(std::move(mount));
}

std::vector<std::string> make_environment(const ContainerSpec& spec, const std::string& hostname,
                                          const Credentials& credentials) {
  std::vector<std::string> env;
  for (const std::string& assignment : spec.process.env) set_env(env, assignment, true);
  set_env(env, kDefaultPath, false);
  set_env(env, cat("HOSTNAME=", hostname), false);
  set_env(env, cat("HOME=", credentials.home), false);
  if (spec.process.terminal) set_env(env, "TERM=xterm", false);
  return env;
}

Launch::Launch(Containerizer& owner, ContainerPtr container)
    : owner_(owner),
      container_(std::move(container)),
      c_(*container_),
      phase_start_ns_(sys::monotonic_ns()) {}

// A launch that failed after it claimed a child.
Launch::~Launch() {
  if (prepared_) owner_.prepared_.give_up(std::move(*prepared_));
}

void Launch::phase(const char* name) {
  int64_t now = sys::monotonic_ns();
  c_.phases.push_back({name, std::chrono::microseconds((now - phase_start_ns_) / 1000)});
  phase_start_ns_ = now;
}

Result<void> Launch::still_wanted() const {
  if (c_.kill_requested) return Error(Errc::cancelled, "killed while it was being launched");
  return {};
}

Co<Result<void>> Launch::run() {
  GANTRY_CO_TRY(co_await record_intent());
  phase("record");
  GANTRY_CO_TRY(co_await provision());
  phase("provision");
  Turns::Turn turn = GANTRY_CO_TRY(co_await owner_.turns_.take());
  // Many may have been let in at the same time.
  GANTRY_CO_TRY(owner_.require_room(c_.id));
  for (int prepared_left = kMostPrepared;; --prepared_left) {
    Result<void> started = co_await start(prepared_left > 0);
    if (started || !co_await has_lost_prepared()) co_return started;
    GANTRY_CO_TRY(co_await start_over());
    phase("lost");
  }
}

Co<Result<void>> Launch::create() {
  GANTRY_CO_TRY(co_await record_intent());
  phase("record");
  GANTRY_CO_TRY(co_await provision());
  phase("provision");
  GANTRY_CO_TRY(still_wanted());
  c_.restore_state(ContainerState::created);
  std::string record = owner_.record_of(c_);
  c_.restore_state(ContainerState::provisioning);
  GANTRY_FAILPOINT_CO_TRY("create.before_registration");
  // ORDER: what is Created to the next executor is so after a reboot, too.
  GANTRY_CO_TRY(co_await owner_.update_registration(c_, std::move(record)));
  GANTRY_FAILPOINT_CO_TRY("create.after_registration");
  GANTRY_CO_TRY(still_wanted());
  c_.restore_state(ContainerState::created);
  Result<void> recorded = owner_.write_record(c_);
  c_.restore_state(ContainerState::provisioning);
  GANTRY_CO_TRY(std::move(recorded));
  GANTRY_FAILPOINT("create.after_record");
  c_.transition(ContainerState::created);
  co_return Result<void>();
}

Co<Result<void>> Launch::start(bool may_be_prepared) {
  GANTRY_CO_TRY(still_wanted());
  GANTRY_CO_TRY(co_await prepare(may_be_prepared));
  phase("prepare");
  GANTRY_CO_TRY(still_wanted());
  if (c_.parent) {
    GANTRY_CO_TRY(co_await clone_helper());
    phase("clone");
  } else {
    GANTRY_CO_TRY(co_await clone());
    phase("clone");
    GANTRY_CO_TRY(co_await isolate());
    // ORDER: before the first instruction: what ran is known after a power cut.
    GANTRY_CO_TRY(co_await owner_.update_registration(c_, owner_.record_of(c_)));
    GANTRY_FAILPOINT_CO_TRY("launch.after_registration");
    phase("isolate");
  }
  GANTRY_CO_TRY(still_wanted());
  GANTRY_CO_TRY(co_await signal_and_exec());
  phase("exec");
  co_return Result<void>();
}

Co<Result<void>> Launch::restore(RestoreFunction restore) {
  c_.transition(ContainerState::restoring);
  GANTRY_CO_TRY(owner_.write_record(c_));
  GANTRY_FAILPOINT_CO_TRY("restore.after_record");
  ContainerSpec spec = *c_.spec;
  // The writable layer it had: provisioning the same id again answers with it.
  GANTRY_CO_TRY(co_await make_root(spec));
  c_.spec = std::make_shared<const ContainerSpec>(std::move(spec));
  GANTRY_CO_TRY(co_await prepare_isolators());
  GANTRY_CO_TRY(make_stdio());
  GANTRY_FAILPOINT_CO_TRY("restore.after_prepare");
  ProcessRef process = GANTRY_CO_TRY(co_await restore(
      RestoreInputs{.context = *context_,
                    .plan = std::move(builder_),
                    .stdin_read = std::move(stdio_[0]),
                    .stdout_write = std::move(stdio_[1]),
                    .stderr_write = std::move(stdio_[2]),
                    .io = std::move(io_),
                    .before_resume = [this](const ProcessRef& p) { return before_resume(p); }}));
  c_.process.emplace(std::move(process));
  GANTRY_CO_TRY(still_wanted());
  c_.started_ns = sys::realtime_ns();
  c_.restore_state(ContainerState::running);
  // ORDER: the record before the first instruction: from here on an executor's death leaves it
  // running, before it leaves nothing.
  Result<void> recorded = owner_.write_record(c_);
  c_.restore_state(ContainerState::restoring);
  GANTRY_CO_TRY(std::move(recorded));
  GANTRY_FAILPOINT_CO_TRY("restore.before_resume");
  GANTRY_CO_TRY(co_await owner_.parts_.cgroups.thaw(c_.id));
  c_.transition(ContainerState::running);
  c_.former_outcome.reset();
  GANTRY_FAILPOINT("restore.after_resume");
  co_return Result<void>();
}

// The first restored process exists and has not run: what only the parent can do, and the record.
Co<Result<void>> Launch::before_resume(const ProcessRef& process) {
  c_.process.emplace(GANTRY_CO_TRY(ProcessRef::open(process.identity())));
  co_return co_await isolate();
}

Co<Result<void>> Launch::record_intent() {
  GANTRY_FAILPOINT_CO_TRY("launch.before_record");
  if (!c_.ran_before) c_.created_ns = sys::realtime_ns();
  // ORDER: the record before the first side effect, so that recovery knows every name we may use.
  GANTRY_CO_TRY(sys::ensure_directory_at(AT_FDCWD, owner_.runtime_dir_of(c_).c_str(), 0700));
  GANTRY_CO_TRY(owner_.write_record(c_));
  GANTRY_FAILPOINT_CO_TRY("launch.after_record");
  co_return Result<void>();
}

Co<Result<void>> Launch::provision() {
  c_.transition(ContainerState::provisioning);
  if (c_.parent) co_return co_await provision_nested();
  ContainerSpec spec = *c_.spec;
  GANTRY_CO_TRY(co_await make_root(spec));
  GANTRY_FAILPOINT_CO_TRY("launch.after_provision");
  if (spec.process.args.empty()) {
    co_return Error(Errc::invalid,
                    "command: neither the request nor the image names a command to run");
  }
  c_.credentials =
      GANTRY_CO_TRY(co_await owner_.parts_.provisioner.resolve_user(c_.rootfs, spec.process.user));
  c_.hostname = spec.hostname.empty() ? c_.id.value().substr(0, 12) : spec.hostname;
  std::string sandbox = owner_.sandbox_of(c_);
  if (!c_.ran_before || ::access(sandbox.c_str(), F_OK) != 0) {
    GANTRY_CO_TRY(create_sandbox(sandbox, c_.credentials.uid, c_.credentials.gid));
  }
  if (!spec.uris.empty() && !c_.ran_before) {
    UniqueFd dir = GANTRY_CO_TRY(sys::open(sandbox, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    GANTRY_CO_TRY(co_await owner_.parts_.fetcher.fetch(spec.uris, std::move(dir),
                                                       c_.credentials.uid, c_.credentials.gid));
  }
  GANTRY_FAILPOINT_CO_TRY("launch.after_sandbox");
  c_.spec = std::make_shared<const ContainerSpec>(std::move(spec));
  co_return Result<void>();
}

Co<Result<void>> Launch::make_root(ContainerSpec& spec) {
  if (mounts_init(spec)) GANTRY_CO_TRY(owner_.parts_.init.ensure_mounted());
  if (auto* directory = std::get_if<DirectoryRoot>(&spec.root)) {
    c_.rootfs.kind = Rootfs::Kind::directory;
    c_.rootfs.directory = directory->path;
  }
  auto* image = std::get_if<ImageRoot>(&spec.root);
  if (image == nullptr) co_return Result<void>();
  ImageRef reference = GANTRY_CO_TRY(ImageRef::parse(image->reference));
  ProvisionedImage provisioned =
      GANTRY_CO_TRY(co_await owner_.parts_.provisioner.provision(c_.id, std::move(reference)));
  c_.rootfs = std::move(provisioned.rootfs);
  c_.image_digest = std::move(provisioned.digest);
  co_return co_await take_over_image(owner_.parts_.provisioner, *provisioned.config,
                                     c_.rootfs.snapshot_key, spec);
}

Co<Result<void>> Launch::prepare(bool may_be_prepared) {
  c_.transition(ContainerState::preparing);
  kind_ = prelude_kind(*c_.spec, c_.rootfs);
  // A prepared child is in ROOT/containers, and would be slow to move.
  if (may_be_prepared && !c_.parent && c_.spec->cgroup_parent.empty()) {
    prepared_ = owner_.prepared_.claim(kind_, needed_mounts(*c_.spec, c_.rootfs));
  }
  GANTRY_CO_TRY(co_await prepare_isolators());
  // ORDER: the last of Stage::exec but for what the forked child does itself, which waits there.
  GANTRY_CO_TRY(c_.parent ? add_fork() : settle_prelude());
  if (c_.spec->process.terminal) {
    GANTRY_CO_TRY(add_terminal());
  } else {
    GANTRY_CO_TRY(make_stdio());
    add_stdio();
  }
  GANTRY_CO_TRY(add_command());
  plan_.emplace(GANTRY_CO_TRY(std::move(builder_).seal()));
  GANTRY_FAILPOINT_CO_TRY("launch.after_prepare");
  co_return Result<void>();
}

Co<Result<void>> Launch::prepare_isolators() {
  context_.emplace(LaunchContext{.id = c_.id,
                                 .cgroup_name = ContainerCgroups::name_of(c_.id),
                                 .spec = *c_.spec,
                                 .credentials = c_.credentials,
                                 .rootfs = c_.rootfs,
                                 .sandbox = owner_.sandbox_of(c_),
                                 .runtime_dir = owner_.runtime_dir_of(c_),
                                 .hostname = c_.hostname,
                                 .staging_dir = cat(owner_.config_.runtime_dir, "/staging"),
                                 .prepared = prepared_ ? prepared_->name : "",
                                 .parent = parent_ ? &*parent_ : nullptr});
  c_.isolators_touched = true;
  for (Isolator* isolator : owner_.isolators_of(c_)) {
    GANTRY_CO_TRY((co_await isolator->prepare(*context_, builder_)).context(isolator->name()));
    GANTRY_FAILPOINT_CO_TRY("launch.after_isolator_prepare");
  }
  co_return Result<void>();
}

void Launch::set_log_place() {
  c_.has_output_ended = false;
  io_.log_directory = context_->sandbox;
  const LogLimits& usual = owner_.config_.log_limits;
  io_.log_limits = {c_.spec->log.max_size.value_or(usual.bytes),
                    c_.spec->log.max_files.value_or(usual.files)};
}

Result<void> Launch::make_stdio() {
  set_log_place();
  sys::Pipe out = GANTRY_TRY(sys::pipe());
  sys::Pipe err = GANTRY_TRY(sys::pipe());
  UniqueFd in;
  if (c_.spec->process.open_stdin) {
    sys::Pipe stdin_pipe = GANTRY_TRY(sys::pipe());
    in = std::move(stdin_pipe.read);
    io_.stdin_write = std::move(stdin_pipe.write);
  } else {
    in = GANTRY_TRY(sys::open("/dev/null", O_RDONLY));
  }
  // Pipes belong to the container's user, so that /dev/stdout and /dev/stderr can be reopened.
  if (c_.credentials.uid != 0) {
    for (int fd : {out.write.get(), err.write.get(), in.get()}) {
      struct ::stat st;
      if (::fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
          ::fchown(fd, c_.credentials.uid, c_.credentials.gid) != 0) {
        return Error::from_errno(errno, "give the output pipes to the container's user");
      }
    }
  }
  io_.stdout_read = std::move(out.read);
  io_.stderr_read = std::move(err.read);
  stdio_[0] = std::move(in);
  stdio_[1] = std::move(out.write);
  stdio_[2] = std::move(err.write);
  return {};
}

void Launch::add_stdio() {
  for (uint64_t number = 0; number < 3; ++number) {
    int slot = builder_.fd(std::move(stdio_[number]));
    builder_.add(Stage::identity, {.kind = OpKind::kDuplicate, .fd = slot, .a = number});
  }
}

// As docker's: made where it is missing, and entered, with root's rights, before the user's count.
void Launch::add_working_directory(const std::string& cwd) {
  const bool is_own_root = !c_.parent && c_.rootfs.kind != Rootfs::Kind::host &&
                           c_.spec->namespaces.mount.kind != NamespaceChoice::Kind::join;
  // ORDER: behind the mounts, because it may be in one; before the root becomes read-only.
  if (is_own_root && cwd != "/") {
    builder_.add(Stage::files, {.kind = OpKind::kMkdir, .s1 = builder_.str(cwd), .a = 0755});
  }
  builder_.add(Stage::limits, {.kind = OpKind::kChdir, .s1 = builder_.str(cwd)});
}

// Whether the claimed child has done exactly what this launch asks for first.
Result<void> Launch::settle_prelude() {
  std::optional<Prelude> prelude = builder_.prelude();
  if (prepared_ && prelude && *prelude == *prepared_->prelude) {
    builder_.drop_prelude();
    return {};
  }
  if (prepared_) {
    owner_.prepared_.give_up(std::move(*prepared_));
    prepared_.reset();
    GANTRY_TRY(owner_.parts_.cgroups.join(context_->cgroup_name, builder_));
  }
  if (prelude) owner_.prepared_.learn(kind_, std::move(*prelude));
  return add_signal();
}

Result<void> Launch::add_signal() {
  // ORDER: the read end goes to the child, the write end stays with us alone: our death is the
  // end-of-file that ends a child which has not yet been signalled.
  sys::Pipe signal = GANTRY_TRY(sys::pipe());
  signal_write_ = std::move(signal.write);
  int slot = builder_.fd(std::move(signal.read));
  builder_.add(Stage::wait, {.kind = OpKind::kBarrier, .fd = slot, .a = 0});
  return {};
}

Result<void> Launch::add_command() {
  const ProcessSpec& process = c_.spec->process;
  std::string cwd = process.cwd.empty() ? "/" : process.cwd;
  // A command on the host's root works in its sandbox, as Mesos' do; one that is run in it too.
  const std::string sandbox = owner_.sandbox_of(outermost(c_));
  if (process.cwd.empty() && c_.rootfs.kind == Rootfs::Kind::host) cwd = sandbox;
  add_working_directory(cwd);
  std::vector<std::string> args = process.args;
  if (process.init && !c_.parent) {
    const bool is_on_host = c_.rootfs.kind == Rootfs::Kind::host;
    args.insert(args.begin(), is_on_host ? owner_.parts_.init.installed() : kInitPath);
  }
  builder_.set_args(args);
  std::vector<std::string> env = make_environment(*c_.spec, c_.hostname, c_.credentials);
  // As Mesos' commands know it: where their sandbox is, as they see it.
  if (c_.rootfs.kind == Rootfs::Kind::host) {
    env.push_back(cat("MESOS_SANDBOX=", sandbox));
  } else if (!c_.spec->sandbox_mount.empty()) {
    env.push_back(cat("MESOS_SANDBOX=", c_.spec->sandbox_mount));
  }
  builder_.set_env(env);
  builder_.add(Stage::exec, {.kind = OpKind::kExec, .s1 = builder_.str(args[0])});
  return {};
}
}  // namespace gantry
