#include "containerizer/nested.h"

#include <csignal>

#include "base/failpoint.h"
#include "base/sys.h"
#include "containerizer/launch.h"
#include "containerizer/refusals.h"
#include "containerizer/sandbox.h"

namespace gantry {
namespace {
// From the end of a container's first process to that of everything launched in it.
constexpr auto kNestedLimit = std::chrono::seconds(15);
// Of one container: a check every ten seconds must not fill the runtime directory.
constexpr size_t kMostNested = 256;
// What `exec --privileged` asks for beside the container's own.
void add_rights(SecuritySpec& security, const SecuritySpec& asked) {
  security.capabilities.bounding |= asked.capabilities.bounding;
  security.capabilities.permitted |= asked.capabilities.permitted;
  security.capabilities.effective |= asked.capabilities.effective;
  if (!asked.no_new_privileges) security.no_new_privileges = false;
  if (asked.seccomp.mode != SeccompSpec::Mode::default_profile) security.seccomp = asked.seccomp;
}
}  // namespace

ContainerSpec nested_spec(ContainerSpec asked, const ContainerSpec& parent) {
  ContainerSpec out = parent;
  ProcessSpec& process = out.process;
  process.args = std::move(asked.process.args);
  process.entrypoint.reset();
  process.env.insert(process.env.end(), asked.process.env.begin(), asked.process.env.end());
  if (!asked.process.cwd.empty()) process.cwd = std::move(asked.process.cwd);
  if (!asked.process.user.text.empty()) process.user = std::move(asked.process.user);
  process.terminal = asked.process.terminal;
  process.rows = asked.process.rows;
  process.columns = asked.process.columns;
  process.open_stdin = asked.process.open_stdin;
  process.init = false;
  add_rights(out.security, asked.security);
  out.name.clear();
  out.restart = RestartPolicy();
  out.health.reset();
  out.cgroup_parent.clear();  // it is in its parent's cgroups
  if (asked.log.max_size) out.log = asked.log;
  out.uris.clear();
  out.labels = std::move(asked.labels);
  out.stop_signal = std::move(asked.stop_signal);
  out.stop_timeout = asked.stop_timeout;
  out.remove_on_exit = asked.remove_on_exit;
  out.is_session = asked.is_session;
  out.request_bytes = std::move(asked.request_bytes);
  return out;
}

const Container& outermost(const Container& container) {
  const Container* at = &container;
  while (at->parent) at = at->parent.get();
  return *at;
}

Co<Result<void>> Launch::provision_nested() {
  const Container& parent = *c_.parent;
  const Error has_ended(Errc::conflict, cat("container '", parent.id.to_string(), "' has ended"));
  if (!parent.process || parent.state() != ContainerState::running) co_return has_ended;
  Result<ProcessRef> process = ProcessRef::open(parent.process->identity());
  if (!process) co_return has_ended;
  parent_.emplace(std::move(*process));
  c_.rootfs = parent.rootfs;
  c_.rootfs.snapshot_key.clear();  // the parent's to remove
  c_.hostname = parent.hostname;
  c_.credentials = parent.credentials;
  if (c_.spec->process.user != parent.spec->process.user) {
    auto found = co_await owner_.parts_.provisioner.resolve_user(c_.rootfs, c_.spec->process.user);
    // Not "not found": that would be the parent.
    if (!found) co_return Error(Errc::invalid, found.error().to_string());
    c_.credentials = std::move(*found);
  }
  co_return Result<void>();
}

Result<void> Launch::add_fork() {
  sys::Pipe go = GANTRY_TRY(sys::pipe());
  go_write_ = std::move(go.write);
  builder_.add(Stage::exec, {.kind = OpKind::kFork, .fd = builder_.fd(std::move(go.read))});
  builder_.add(Stage::exec, {.kind = OpKind::kSetsid});
  return {};
}

Co<Result<void>> Launch::clone_helper() {
  c_.transition(ContainerState::launching);
  GANTRY_FAILPOINT_CO_TRY("exec.before_clone");
  launcher_ = owner_.parts_.backend.generation();
  LaunchedChild child =
      GANTRY_CO_TRY(co_await owner_.parts_.backend.launch(helper_key(), *plan_, LaunchIo()));
  GANTRY_FAILPOINT_CO_TRY("exec.after_clone");
  helper_.emplace(std::move(child.process));
  report_read_ = std::move(child.report_pipe);
  // While the helper is at work; nothing writes into it before it is adopted.
  GANTRY_CO_TRY(
      owner_.spare_sandboxes_.take(owner_.sandbox_of(c_), c_.credentials.uid, c_.credentials.gid));
  GANTRY_FAILPOINT_CO_TRY("exec.after_sandbox");
  co_return Result<void>();
}

std::string Launch::helper_key() const { return cat(kLaunchHelperKey, c_.id.hash()); }

// The container's first process is there, and waits for its byte.
Co<Result<void>> Launch::on_fork(pid_t pid) {
  LaunchBackend& backend = owner_.parts_.backend;
  c_.process.emplace(GANTRY_CO_TRY(
      co_await backend.adopt(c_.id.hash(), pid, LaunchBackend::Adoptee::to_exec, std::move(io_))));
  GANTRY_FAILPOINT_CO_TRY("exec.after_adopt");
  // It was forked where its helper had gone.
  GANTRY_CO_TRY(co_await verify_cgroups());
  if (terminal_.valid()) GANTRY_CO_TRY(co_await store_terminal());
  GANTRY_CO_TRY(co_await isolate());
  GANTRY_FAILPOINT_CO_TRY("exec.before_go");
  GANTRY_CO_TRY(still_wanted());
  GANTRY_CO_TRY(sys::write_all(go_write_.get(), "g").context("let the command begin"));
  go_write_.reset();
  GANTRY_FAILPOINT_CO_TRY("exec.after_go");
  co_return Result<void>();
}

Co<void> Launch::end_helper() {
  if (!helper_) co_return;
  helper_->signal(SIGKILL).ignore("it may be gone");
  (co_await owner_.parts_.backend.wait_exit(helper_key())).ignore("its status means nothing");
  (co_await owner_.parts_.backend.forget(helper_key())).ignore("forgotten by the next recovery");
  helper_.reset();
}

const std::vector<Isolator*>& Containerizer::isolators_of(const Container& container) const {
  return container.id.parent() == nullptr ? parts_.isolators : nested_isolators_;
}

Result<ContainerPtr> Containerizer::find_parent(const ContainerId& id) const {
  ContainerPtr parent = GANTRY_TRY(require(*id.parent()));
  if (parent->state() == ContainerState::running) return parent;
  // Whoever waited for it was told already.
  const std::string_view state = parent->outcome ? "exited" : to_string(parent->state());
  return Error(Errc::conflict, cat("container '", parent->id.to_string(), "' is ", state,
                                   ", a command can be run only in a running one"));
}

Co<Result<void>> Launch::explain_failure(Result<void> failed) {
  failed = name_process_limit(owner_.parts_.cgroups, c_, std::move(failed).error());
  if (!parent_) co_return failed;
  const Error& error = failed.error();
  const bool may_be_its_end = error.is_errno(ESRCH) || error.is_errno(ENOMEM) ||
                              error.is_errno(EPIPE) || error.is(Errc::not_found) ||
                              error.is(Errc::conflict);
  // KERNEL: a pid namespace takes nobody any more a moment before its first process has ended.
  const auto limit = std::chrono::milliseconds(may_be_its_end ? 200 : 0);
  const bool has_ended = (co_await wait_fd(parent_->pidfd(), Readiness::read, limit)).has_value();
  if (!has_ended) co_return failed;
  co_return Error(Errc::conflict, cat("container '", c_.parent->id.to_string(),
                                      "' ended while a command was being started in it"));
}

Co<void> Containerizer::wait_nested_ended(ContainerPtr container) {
  const auto deadline = std::chrono::steady_clock::now() + kNestedLimit;
  const std::set<ContainerId> all = container->nested;
  for (const ContainerId& id : all) {
    const ContainerPtr nested = find(id);
    if (!nested) continue;
    nested->kill_requested = true;  // of a launch under way
    while (nested->state() != ContainerState::exited &&
           nested->state() != ContainerState::removed) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= Duration::zero()) co_return;  // its cgroups go with the container's, or say why
      co_await nested->changed.wait(left);
    }
  }
}

Co<Result<void>> Containerizer::remove_nested(ContainerPtr container) {
  const std::set<ContainerId> all = container->nested;
  for (const ContainerId& id : all) {
    if (find(id)) GANTRY_CO_TRY(co_await remove(id, Force::yes));
  }
  co_return Result<void>();
}

Co<void> Containerizer::make_room_for_nested(ContainerPtr parent) {
  if (parent->nested.size() < kMostNested) co_return;
  ContainerPtr oldest;
  for (const ContainerId& id : parent->nested) {
    const ContainerPtr nested = find(id);
    const bool is_over = nested && nested->state() == ContainerState::exited &&
                         nested->readers == 0 && !nested->removing;
    if (is_over && (!oldest || nested->exited_ns < oldest->exited_ns)) oldest = nested;
  }
  if (oldest) (co_await remove(oldest->id, Force::no)).ignore("its parent's removal takes it");
}

size_t Containerizer::live_nested(const Container& container) const {
  size_t count = 0;
  for (const ContainerId& id : container.nested) {
    const ContainerPtr nested = find(id);
    if (nested && nested->state() != ContainerState::exited) ++count;
  }
  return count;
}

bool Containerizer::has_readers(const Container& container) const {
  if (container.readers > 0) return true;
  for (const ContainerId& id : container.nested) {
    const ContainerPtr nested = find(id);
    if (nested && nested->readers > 0) return true;
  }
  return false;
}
}  // namespace gantry
