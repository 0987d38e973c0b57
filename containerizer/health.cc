// Health checks: each is a nested container, as `gantry exec` makes them (docs/adr/0015), one at a
// time, under an id of its own. What came of them is in RUNTIME/containers/NAME/health, so that the
// next executor goes on where this one was; a check that was under way then is ended and says
// nothing.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "api/records/container_record.pb.h"
#include "base/failpoint.h"
#include "base/path_at.h"
#include "base/record_file.h"
#include "base/sys.h"
#include "containerizer/containerizer.h"

namespace gantry {
namespace {
constexpr const char* kCheckId = "gantry-health";
constexpr const char* kRecord = "health";
// Of a check's stdout and stderr each; only the beginning is looked at.
constexpr Bytes kMostOutputOnDisk = 64u << 10;

Result<ContainerId> check_id(const Container& container) {
  return ContainerId::parse(kCheckId, container.id);
}

// The beginning of a file that tenants may have put something else in place of.
std::string begin_of(const DirFd& sandbox, const char* name) {
  auto file = sandbox.open_beneath(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  struct ::stat st;
  if (!file || ::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  std::string out(Health::kMostOutput, '\0');
  const ssize_t n = ::pread(file->get(), out.data(), out.size(), 0);
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

std::string output_of(const std::string& sandbox) {
  Result<DirFd> place = DirFd::open(sandbox);
  if (!place) return {};
  std::string out = begin_of(*place, "stdout") + begin_of(*place, "stderr");
  if (out.size() > Health::kMostOutput) out.resize(Health::kMostOutput);
  return out;
}

// Not the container's fault.
bool says_nothing(const Error& error) {
  return error.is(Errc::conflict) || error.is(Errc::exhausted) || error.is(Errc::cancelled) ||
         error.is(Errc::not_found);
}

std::chrono::nanoseconds age_of(const Container& container) {
  return std::chrono::nanoseconds(sys::realtime_ns() - container.started_ns);
}
}  // namespace

bool Containerizer::is_checked(const Container& container) {
  return !container.parent && container.spec->health && container.spec->health->is_on();
}

// Of what happens in a container only commands that somebody asked for are told.
void Containerizer::tell(const Container& container, std::string_view action,
                         EventAttributes attributes) const {
  const bool is_told =
      !container.parent || (action.starts_with("exec_") && container.id.value() != kCheckId);
  if (observer_ && is_told) observer_(container, action, std::move(attributes));
}

// ---- The record ------------------------------------------------------------------------------

void Containerizer::read_health(Container& container) const {
  if (!is_checked(container)) return;
  Result<DirFd> dir = DirFd::open(runtime_dir_of(container));
  Result<std::string> bytes =
      dir ? gantry::read_record(dir->get(), kRecord) : Result<std::string>(dir.error());
  records::Health in;
  // Without it the checks begin anew.
  if (!bytes || !in.ParseFromString(*bytes) || in.status() > 2) return;
  Health& out = container.health.emplace();
  out.status = static_cast<HealthStatus>(in.status());
  out.failing_streak = in.failing_streak();
  for (const auto& check : in.log()) {
    out.log.push_back({check.start_ns(), check.end_ns(), check.exit_code(), check.output()});
  }
}

Result<void> Containerizer::write_health(const Container& container) const {
  records::Health out;
  out.set_status(static_cast<uint32_t>(container.health->status));
  out.set_failing_streak(container.health->failing_streak);
  for (const HealthCheck& check : container.health->log) {
    auto* made = out.add_log();
    made->set_start_ns(check.start_ns);
    made->set_end_ns(check.end_ns);
    made->set_exit_code(check.exit_code);
    made->set_output(check.output);
  }
  DirFd dir = GANTRY_TRY(DirFd::open(runtime_dir_of(container)));
  return gantry::write_record(dir.get(), kRecord, out.SerializeAsString(), Durability::memory);
}

void Containerizer::forget_health(Container& container) const {
  if (!container.health) return;
  container.health.reset();
  ::unlink(cat(runtime_dir_of(container), "/", kRecord).c_str());
}

// ---- Checking --------------------------------------------------------------------------------

Co<void> Containerizer::watch_health(ContainerPtr container) {
  // What a former run or executor has left.
  co_await end_check(container);
  // Not by the host's clock, which may be set.
  const auto started = std::chrono::steady_clock::now() - age_of(*container);
  while (!co_await is_cancelled()) {
    auto age = std::chrono::steady_clock::now() - started;
    const auto pause = container->health->pause(*container->spec->health, age);
    if (!co_await wait_check_due(container, std::chrono::steady_clock::now() + pause)) co_return;
    age = std::chrono::steady_clock::now() - started;
    std::optional<HealthCheck> check = co_await check_health(container);
    if (co_await is_cancelled()) co_return;
    if (!check) continue;
    GANTRY_FAILPOINT("health.before_record");
    const bool has_failed = check->exit_code != 0;
    const HealthStatus before = container->health->status;
    container->health->add(std::move(*check), *container->spec->health, age);
    write_health(*container).ignore("the next executor would know what was before");
    GANTRY_FAILPOINT("health.after_record");
    if (container->health->status != before) {
      tell(*container, "health_status",
           {{"health_status", std::string(to_string(container->health->status))}});
    }
    container->changed.notify();
    // ORDER: by what a check says now: what an executor that died has not done is done by the next.
    if (has_failed && container->health->status == HealthStatus::unhealthy &&
        act_on_failure(container)) {
      co_return;
    }
  }
}

// False: there will be none. Those that are paused are not checked.
Co<bool> Containerizer::wait_check_due(ContainerPtr container,
                                       std::chrono::steady_clock::time_point due) {
  for (;;) {
    if (co_await is_cancelled() || container->outcome) co_return false;
    const auto left = due - std::chrono::steady_clock::now();
    const bool is_due = left <= Duration::zero();
    const bool may_be =
        container->state() == ContainerState::running && container->checks_held == 0;
    if (is_due && may_be) co_return true;
    co_await container->changed.wait(is_due ? std::nullopt : std::optional<Duration>(left));
  }
}

Co<std::optional<HealthCheck>> Containerizer::check_health(ContainerPtr container) {
  const std::shared_ptr<const ContainerSpec> spec = container->spec;
  HealthCheck out{.start_ns = sys::realtime_ns(), .exit_code = -1};
  const auto failed = [&out](std::string why) {
    out.end_ns = sys::realtime_ns();
    out.output = std::move(why);
    return std::optional(std::move(out));
  };
  const Result<ContainerId> id = check_id(*container);
  if (!id) co_return failed(id.error().to_string());
  Result<ContainerSpec> command = parts_.command_spec(*id, spec->health->args);
  if (!command) co_return failed(command.error().to_string());
  command->is_session = true;
  command->log = {.max_size = kMostOutputOnDisk, .max_files = 1};
  Result<LaunchAnswer> launched = co_await launch(*id, std::move(*command));
  if (!launched && says_nothing(launched.error())) co_return std::nullopt;
  if (!launched) co_return failed(launched.error().to_string());
  const ContainerPtr check = find(*id);
  if (*launched == LaunchAnswer::already_there || !check) {
    co_await end_check(container);
    co_return failed("the check before has not ended");
  }
  const bool has_ended = co_await wait_check_end(container, check);
  if (co_await is_cancelled()) co_return std::nullopt;
  // ORDER: its output is in the files when it has ended.
  if (!has_ended) (co_await destroy(*id)).ignore("the next check tells when it is stuck");
  out.end_ns = sys::realtime_ns();
  out.output = output_of(sandbox_of(*check));
  if (!has_ended) {
    const auto limit = spec->health->timeout.value_or(HealthSpec::kTimeout);
    out.output = cat("it took longer than ", limit.count(), " ms and was killed",
                     out.output.empty() ? "" : ": ", out.output);
  } else if (check->outcome) {
    out.exit_code = check->outcome->shell_status();
  }
  const bool is_lost = check->outcome && check->outcome->kind == ExitOutcome::Kind::lost;
  (co_await remove(*id, Force::yes)).ignore("before the next check again");
  if (is_lost || container->outcome || container->checks_held != 0) co_return std::nullopt;
  co_return std::optional(std::move(out));
}

// False: it has not by the time it was given.
Co<bool> Containerizer::wait_check_end(ContainerPtr container, ContainerPtr check) {
  const Duration limit = container->spec->health->timeout.value_or(HealthSpec::kTimeout);
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (!check->outcome) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left > Duration::zero()) {
      co_await check->changed.wait(left);
    } else if (container->state() == ContainerState::paused) {
      // It was frozen too: its time begins anew.
      co_await container->changed.wait();
      deadline = std::chrono::steady_clock::now() + limit;
    } else {
      co_return false;
    }
    if (co_await is_cancelled()) co_return false;
  }
  co_return true;
}

Co<void> Containerizer::end_check(ContainerPtr container) {
  if (!is_checked(*container)) co_return;
  const Result<ContainerId> id = check_id(*container);
  if (!id || !find(*id)) co_return;
  (co_await remove(*id, Force::yes)).ignore("the next check tells when it is stuck");
}

// ---- Unhealthy -------------------------------------------------------------------------------

bool Containerizer::act_on_failure(ContainerPtr container) {
  if (container->spec->health->on_failure == HealthSpec::OnFailure::none) return false;
  container->killed_because =
      cat("it was unhealthy: ", container->health->failing_streak, " checks in a row had failed");
  scope_.spawn(end_unhealthy(std::move(container)));
  return true;
}

Co<void> Containerizer::end_unhealthy(ContainerPtr container) {
  using OnFailure = HealthSpec::OnFailure;
  switch (container->spec->health->on_failure) {
    case OnFailure::none:
      break;
    case OnFailure::kill:
      tell(*container, "kill", {{"signal", cat(SIGKILL)}});
      (co_await kill_all(container->id)).ignore("its exit tells");
      break;
    case OnFailure::stop:
      (co_await stop(container->id, std::nullopt)).ignore("its exit tells");
      break;
    case OnFailure::restart:
      container->restart_wanted = true;
      // ORDER: before its end, after which the next executor knows by this that it shall run.
      write_record(*container).ignore("then it stays ended, should this executor die now");
      GANTRY_FAILPOINT("health.before_restart");
      (co_await end(container, std::nullopt, std::nullopt)).ignore("its exit tells");
      break;
  }
}
}  // namespace gantry
