#include "containerizer/containerizer.h"

#include <algorithm>
#include <csignal>

#include "base/path_at.h"
#include "base/record_file.h"
#include "base/sys.h"
#include "containerizer/container_record.h"
#include "containerizer/launch.h"
#include "containerizer/nested.h"
#include "containerizer/refusals.h"
#include "containerizer/registrations.h"
#include "containerizer/room.h"
#include "containerizer/signals.h"

namespace gantry {
namespace {
constexpr auto kFreezeLimit = std::chrono::seconds(10);
// A launch that failed is answered when it is undone, or after this.
constexpr auto kUndoLimit = std::chrono::seconds(5);
// Each holds some twenty descriptors until its exec, of 20,000 on many hosts.
constexpr size_t kLaunchesAtOnce = 256;
constexpr size_t kDescriptorsPerLaunch = 64;
constexpr auto kRemovalLimit = std::chrono::seconds(5);
// Whoever followed a container's output when the executor died comes back within this.
constexpr auto kReturnLimit = std::chrono::seconds(30);

// Off the way of whoever waits for the command; over before the end of the container is.
Co<void> end_helper(std::shared_ptr<Launch> launch) {
  co_await uncancellable([](std::shared_ptr<Launch> of) -> Co<bool> {
    co_await of->end_helper();
    co_return true;
  }(std::move(launch)));
}
}  // namespace

Containerizer::Containerizer(ContainerizerConfig config, ContainerizerParts parts,
                             asio::any_io_executor executor)
    : config_(std::move(config)),
      parts_(std::move(parts)),
      executor_(executor),
      turns_(executor, std::min(kLaunchesAtOnce, descriptor_limit() / kDescriptorsPerLaunch)),
      prepared_(parts_.backend, parts_.cgroups, executor, config_.prepared_children),
      spare_sandboxes_(cat(config_.data_dir, "/sandboxes")),
      closing_(executor),
      scope_(std::move(executor)) {
  for (Isolator* isolator : parts_.isolators) {
    if (isolator->is_for_nested()) nested_isolators_.push_back(isolator);
  }
}

Containerizer::~Containerizer() = default;

// ---- The list --------------------------------------------------------------------------------

ContainerPtr Containerizer::find(const ContainerId& id) const {
  auto it = containers_.find(id);
  return it == containers_.end() ? nullptr : it->second;
}

Result<ContainerPtr> Containerizer::require(const ContainerId& id) const {
  if (ContainerPtr container = find(id)) return container;
  return Error(Errc::not_found, cat("no container '", id.to_string(), "'"));
}

Result<ContainerPtr> Containerizer::resolve(std::string_view text) const {
  if (const size_t dot = text.rfind('.'); dot != text.npos) {
    const ContainerPtr parent = GANTRY_TRY(resolve(text.substr(0, dot)));
    return require(GANTRY_TRY(ContainerId::parse(text.substr(dot + 1), parent->id)));
  }
  if (auto it = names_.find(text); it != names_.end()) return find(it->second);
  ContainerPtr match;
  for (auto& [id, container] : containers_) {
    if (id.parent() != nullptr) continue;
    if (id.value() == text) return container;
    if (text.empty() || !id.value().starts_with(text)) continue;
    if (match) return Error(Errc::invalid, cat("'", text, "' begins more than one container id"));
    match = container;
  }
  if (!match) return Error(Errc::not_found, cat("no container '", text, "'"));
  return match;
}

std::vector<ContainerPtr> Containerizer::list() const {
  std::vector<ContainerPtr> out;
  out.reserve(containers_.size());
  for (auto& [id, container] : containers_) out.push_back(container);
  return out;
}

size_t Containerizer::live_count() const {
  size_t count = 0;
  for (auto& [id, container] : containers_) {
    ContainerState state = container->state();
    const bool is_at_rest = state == ContainerState::exited || state == ContainerState::created;
    if (!is_at_rest || container->restart_due) ++count;
  }
  return count;
}

std::vector<std::string> Containerizer::isolator_names() const {
  std::vector<std::string> names;
  for (Isolator* isolator : parts_.isolators) names.emplace_back(isolator->name());
  return names;
}

std::string Containerizer::sandbox_of(const Container& container) const {
  return cat(config_.data_dir, "/sandboxes/", container.directory_name());
}
std::string Containerizer::runtime_dir_of(const Container& container) const {
  return cat(config_.runtime_dir, "/containers/", container.directory_name());
}

std::string Containerizer::record_of(const Container& container) const {
  std::map<std::string, std::string> isolators;
  for (Isolator* isolator : isolators_of(container)) {
    std::string bytes = isolator->record(container.id);
    if (!bytes.empty()) isolators.emplace(isolator->name(), std::move(bytes));
  }
  return serialize_record(container, isolators);
}

Result<void> Containerizer::write_record(const Container& container) const {
  DirFd dir = GANTRY_TRY(DirFd::open(runtime_dir_of(container)));
  return gantry::write_record(dir.get(), "record", record_of(container), Durability::memory);
}

Co<Result<void>> Containerizer::update_registration(const Container& container,
                                                    std::string record) const {
  if (!container.is_registered()) co_return Result<void>();
  co_return co_await offload(
      [data_dir = config_.data_dir, name = container.directory_name(), bytes = std::move(record)] {
        return write_registration(data_dir, name, bytes);
      });
}

// ---- Launch ----------------------------------------------------------------------------------

Co<Result<Containerizer::LaunchAnswer>> Containerizer::launch(ContainerId id, ContainerSpec spec) {
  const ContainerPtr container = GANTRY_CO_TRY(co_await admit(std::move(id), std::move(spec)));
  if (!container) co_return LaunchAnswer::already_there;
  Result<void> launched = co_await uncancellable(run_launch(container));
  if (!launched) co_return std::move(launched).error();
  co_return LaunchAnswer::started;
}

Co<Result<Containerizer::LaunchAnswer>> Containerizer::create(ContainerId id, ContainerSpec spec) {
  const ContainerPtr container = GANTRY_CO_TRY(co_await admit(std::move(id), std::move(spec)));
  if (!container) co_return LaunchAnswer::already_there;
  container->was_created = true;
  Result<void> created = co_await uncancellable(run_create(container));
  if (!created) co_return std::move(created).error();
  co_return LaunchAnswer::started;
}

Co<Result<ContainerPtr>> Containerizer::admit(ContainerId id, ContainerSpec spec) {
  if (!find(id)) GANTRY_CO_TRY(co_await wait_for_name(spec.name));
  if (find(id)) co_return ContainerPtr();
  if (!spec.name.empty()) GANTRY_CO_TRY(require_no_id(list(), spec.name, id));
  GANTRY_CO_TRY(require_room(id));
  ContainerPtr parent;
  if (id.parent() != nullptr) {
    parent = GANTRY_CO_TRY(find_parent(id));
    co_await make_room_for_nested(parent);
    if (find(id)) co_return ContainerPtr();
    spec = nested_spec(std::move(spec), *parent->spec);
  }
  if (!spec.name.empty()) names_.emplace(spec.name, id);
  mount_init(spec, parts_.init.mounted());
  auto container = std::make_shared<Container>(
      id, std::make_shared<const ContainerSpec>(std::move(spec)), executor_);
  container->parent = parent;
  if (parent) parent->nested.insert(id);
  containers_.emplace(id, container);
  tell(*container, parent ? "exec_create" : "create");
  co_return container;
}

Result<void> Containerizer::require_room(const ContainerId& id) const {
  GANTRY_TRY(require_descriptors([this] { return live_count(); }));
  GANTRY_TRY(require_disk(config_.runtime_dir, "remove exited containers (`gantry rm`)"));
  // A command in a container may be what makes room.
  if (id.parent() != nullptr) return {};
  return require_disk(
      config_.data_dir,
      "remove exited containers (`gantry rm`) or images (`gantry rmi`), or give the "
      "data directory a larger disk; what runs goes on");
}

// The client of a `run --rm` hears of the end a moment before the container and its name are gone.
Co<Result<void>> Containerizer::wait_for_name(std::string name) {
  const auto deadline = std::chrono::steady_clock::now() + kRemovalLimit;
  for (auto it = names_.find(name); it != names_.end(); it = names_.find(name)) {
    const ContainerPtr holder = find(it->second);
    const auto left = deadline - std::chrono::steady_clock::now();
    const bool is_going = holder && holder->outcome && holder->spec->remove_on_exit;
    if (!is_going || left <= Duration::zero()) {
      co_return Error(Errc::conflict,
                      cat("name: '", name,
                          "' is taken by another container; remove it or choose another name"));
    }
    co_await holder->changed.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  co_return Result<void>();
}

Co<Result<void>> Containerizer::run_launch(ContainerPtr container) {
  auto launch = std::make_shared<Launch>(*this, container);
  Result<void> result = co_await launch->run();
  if (result) {
    start_watching(container);
    if (container->parent) container->scope.spawn(end_helper(std::move(launch)));
    prepared_.refill();
    co_return result;
  }
  result = co_await launch->explain_failure(std::move(result));
  co_return co_await give_up_launch(container, std::move(launch), std::move(result).error());
}

Co<Result<void>> Containerizer::run_create(ContainerPtr container) {
  auto launch = std::make_shared<Launch>(*this, container);
  Result<void> result = co_await launch->create();
  if (result) co_return result;
  co_return co_await give_up_launch(container, std::move(launch), std::move(result).error());
}

Co<Result<void>> Containerizer::give_up_launch(ContainerPtr container,
                                               std::shared_ptr<Launch> launch, Error error) {
  container->launch_error = error;
  scope_.spawn(undo_launch(container, std::move(launch)));
  const auto deadline = std::chrono::steady_clock::now() + kUndoLimit;
  while (!container->is_undone) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) {
      co_return std::move(error).context("what it began is removed when it lets go");
    }
    co_await container->changed.wait(left);
  }
  co_return error;
}

void Containerizer::start_watching(ContainerPtr container) {
  scope_.spawn(watch_exit(container));
  if (is_checked(*container)) {
    if (!container->health) container->health.emplace();
    container->scope.spawn(watch_health(container));
  }
  for (Isolator* isolator : isolators_of(*container)) {
    if (isolator->watches(container->id)) container->scope.spawn(watch_limit(container, isolator));
  }
}

Co<void> Containerizer::watch_exit(ContainerPtr container) {
  // Not on the launch path: it only adds when it was started. Of a session nobody asks.
  const bool is_session = container->parent && container->spec->remove_on_exit;
  if (container->state() == ContainerState::running && !is_session) {
    write_record(*container).ignore("the record of the launch adopts it as well");
  }
  Result<ExitRecord> exit = co_await wait_exit(container);
  if (co_await is_cancelled()) co_return;
  // Adopted between its plan and its exec, which it did not come to.
  const bool has_run = !exit || exit->has_execed;
  ExitOutcome outcome;
  if (!has_run) {
    outcome = {ExitOutcome::Kind::failed, 0, false,
               "it was killed before it could run its command"};
  } else if (exit) {
    container->exited_ns = exit->exit_time_ns;
    outcome = co_await explain_exit(container, *exit);
  } else {
    outcome = {ExitOutcome::Kind::lost, 0, false, exit.error().to_string()};
  }
  const bool is_over =
      co_await uncancellable([](Containerizer* self, ContainerPtr c, ExitOutcome o) -> Co<bool> {
        const bool is_failed = o.kind == ExitOutcome::Kind::failed;
        const bool is_over = co_await self->finish(c, std::move(o));
        if (is_over && is_failed) {
          (co_await self->remove_storage(c)).ignore("again at the next recovery");
        }
        co_return is_over;
      }(this, container, std::move(outcome)));
  if (!has_run || !is_over) co_return;
  if (container->is_removal_due) {
    (co_await remove(container->id, Force::no)).ignore("it is Exited, and can be removed again");
  } else if (container->spec->remove_on_exit) {
    co_await remove_when_read(container);
  }
  consider_restart(container, AfterReboot::no);
}

Co<void> Containerizer::remove_when_read(ContainerPtr container) {
  const auto deadline = std::chrono::steady_clock::now() + kReturnLimit;
  while (container->awaits_reader) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return;
  }
  // Whoever follows the output sees all of it, and the exit, first. Bounded by its connection.
  while (has_readers(*container) && !co_await is_cancelled()) co_await container->changed.wait();
  if (is_leaving_ || co_await is_cancelled()) co_return;
  (co_await remove(container->id, Force::no)).ignore("recovery removes what is left");
}

Co<void> Containerizer::watch_limit(ContainerPtr container, Isolator* isolator) {
  Result<Limitation> limit = co_await isolator->watch(container->id);
  if (!limit || co_await is_cancelled()) co_return;
  if (container->outcome) co_return;
  container->limitation = std::move(*limit);
  (co_await kill_all(container->id)).ignore("the exit watch reports what comes of it");
}

Co<ExitOutcome> Containerizer::explain_exit(ContainerPtr container, ExitRecord exit) {
  ExitOutcome outcome = ExitOutcome::from_wait_status(exit.wait_status);
  if (outcome.kind == ExitOutcome::Kind::signalled) outcome.reason = container->killed_because;
  // A limit that was reached can show in either way: the kill, or an exit of the first process
  // because one of the others was killed.
  if (exit.wait_status == 0) co_return outcome;
  std::optional<Limitation> limit = container->limitation;
  for (Isolator* isolator : isolators_of(*container)) {
    if (!limit) limit = co_await isolator->limitation_at_exit(container->id);
  }
  if (limit) {
    outcome.code = outcome.wait_status();
    outcome.kind = ExitOutcome::Kind::limited;
    outcome.reason = limit->message;
    outcome.resource = limit->resource;
    if (limit->resource == "memory" && !container->parent) tell(*container, "oom");
    container->limitation = std::move(limit);
  }
  co_return outcome;
}

// ---- Operations ------------------------------------------------------------------------------

Co<Result<ExitOutcome>> Containerizer::wait(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  while (!container->outcome) {
    co_await container->changed.wait();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  co_return *container->outcome;
}

Co<Result<void>> Containerizer::kill(ContainerId id, int signal) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  Result<void> noted;
  if (signal == SIGKILL) noted = co_await note_stop(container);
  GANTRY_CO_TRY(co_await send_signal(container, signal));
  tell(*container, "kill", {{"signal", cat(signal)}});
  co_return noted;
}

Co<Result<void>> Containerizer::send_signal(ContainerPtr container, int signal) {
  const ContainerId& id = container->id;
  switch (container->state()) {
    case ContainerState::running:
    case ContainerState::checkpointing:
      break;
    case ContainerState::paused:
      // KERNEL: a v1-frozen task dies of SIGKILL only when thawed.
      if (signal == SIGKILL) co_return co_await kill_all(id);
      break;
    case ContainerState::exited:
    case ContainerState::destroying:
      co_return Error(Errc::not_found, cat("container '", id.to_string(), "' is not running"));
    case ContainerState::created:
      co_return Error(Errc::conflict, cat("container '", id.to_string(), "' has not been started"));
    default:
      container->kill_requested = true;
      co_return Result<void>();
  }
  if (!container->process) {
    co_return Error(Errc::not_found, cat("container '", id.to_string(), "' is not running"));
  }
  Result<void> sent = container->process->signal(signal);
  if (!sent && sent.error().is_errno(ESRCH)) {
    co_return Error(Errc::not_found, cat("container '", id.to_string(), "' has just ended"));
  }
  co_return sent;
}

Co<Result<void>> Containerizer::stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                                     std::optional<int> chosen) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  Result<void> noted = co_await note_stop(container);
  const bool has_ended = container->outcome.has_value();
  GANTRY_CO_TRY(co_await end(container, grace, chosen));
  if (!has_ended) tell(*container, "stop");
  co_return noted;
}

Co<Result<void>> Containerizer::end(ContainerPtr container,
                                    std::optional<std::chrono::seconds> grace,
                                    std::optional<int> chosen) {
  if (container->outcome) co_return Result<void>();
  // ORDER: the run of now: another one has a spec of its own.
  const std::shared_ptr<const ContainerSpec> spec = container->spec;
  const uint32_t run = container->restarts;
  int signal = chosen.value_or(SIGTERM);
  if (!chosen && !spec->stop_signal.empty())
    signal = GANTRY_CO_TRY(parse_signal(spec->stop_signal));
  if (container->state() == ContainerState::paused) GANTRY_CO_TRY(co_await resume(container->id));
  Result<void> sent = co_await send_signal(container, signal);
  // One that is ending by itself takes none.
  if (!sent && !sent.error().is(Errc::not_found)) co_return sent;
  if (sent) tell(*container, "kill", {{"signal", cat(signal)}});
  auto deadline = std::chrono::steady_clock::now() + grace.value_or(spec->stop_timeout);
  while (!container->outcome && container->restarts == run) {
    auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    co_await container->changed.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client went away");
  }
  if (container->outcome || container->restarts != run) co_return Result<void>();
  tell(*container, "kill", {{"signal", cat(SIGKILL)}});
  co_return co_await destroy(container->id);
}

Co<Result<void>> Containerizer::pause(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  if (container->state() == ContainerState::paused) co_return Result<void>();
  if (container->state() != ContainerState::running) {
    co_return Error(Errc::busy, cat("container '", id.to_string(), "' is ",
                                    to_string(container->state()), ", only a running one pauses"));
  }
  GANTRY_CO_TRY(co_await parts_.cgroups.pause(ContainerCgroups::name_of(id), kFreezeLimit));
  if (container->state() != ContainerState::running) {
    co_return Error(Errc::not_found, "it ended while it was being paused");
  }
  container->transition(ContainerState::paused);
  Result<void> recorded = write_record(*container);
  if (recorded) {
    tell(*container, "pause");
    co_return recorded;
  }
  // The next executor would thaw it.
  (co_await parts_.cgroups.resume(ContainerCgroups::name_of(id), kFreezeLimit)).ignore("ending");
  if (container->state() == ContainerState::paused) container->transition(ContainerState::running);
  co_return recorded;
}

Co<Result<void>> Containerizer::resume(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  if (container->state() == ContainerState::running) co_return Result<void>();
  if (container->state() != ContainerState::paused) {
    co_return Error(Errc::busy, cat("container '", id.to_string(), "' is ",
                                    to_string(container->state()), ", only a paused one resumes"));
  }
  GANTRY_CO_TRY(co_await parts_.cgroups.resume(ContainerCgroups::name_of(id), kFreezeLimit));
  if (container->state() != ContainerState::paused) co_return Result<void>();
  container->transition(ContainerState::running);
  Result<void> recorded = write_record(*container);
  if (recorded) {
    tell(*container, "unpause");
    co_return recorded;
  }
  // The next executor would freeze it.
  (co_await parts_.cgroups.pause(ContainerCgroups::name_of(id), kFreezeLimit)).ignore("ending");
  if (container->state() == ContainerState::running) container->transition(ContainerState::paused);
  co_return recorded;
}

Co<Result<Usage>> Containerizer::usage(ContainerId id) {
  ContainerPtr container = GANTRY_CO_TRY(require(id));
  Usage usage;
  for (Isolator* isolator : parts_.isolators) {
    GANTRY_CO_TRY((co_await isolator->usage(id, usage)).context(isolator->name()));
  }
  co_return usage;
}

Co<void> Containerizer::close() {
  is_closing_ = true;
  closing_.notify();
  co_await prepared_.close();
  co_await scope_.close();
  for (auto& [id, container] : containers_) co_await container->scope.close();
  spare_sandboxes_.close();
}
}  // namespace gantry
