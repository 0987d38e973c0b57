#include "launcher/remote_launcher.h"

#include <sys/mman.h>
#include <cstring>

#include "base/failpoint.h"
#include "base/sys.h"

namespace gantry {
namespace {
using namespace std::chrono_literals;
constexpr Duration kAnswerLimit = 10s;
constexpr Duration kLostLimit = 10s;
constexpr Duration kReadRest = 500ms;  // of what a dead launcher has said

template <size_t N>
bool copy_text(char (&to)[N], const std::string& from) {
  if (from.size() >= N) return false;
  std::memcpy(to, from.c_str(), from.size() + 1);
  return true;
}

ExitRecord exit_of(const Slot& slot) {
  return {.wait_status = slot.wait_status,
          .exit_time_ns = slot.exit_time_ns,
          .user_us = slot.user_us,
          .system_us = slot.system_us,
          .max_rss_kib = slot.max_rss_kib,
          .has_execed = (slot.flags & kNeverExeced) == 0};
}

SlotState state_of(const Slot& slot) {
  return static_cast<SlotState>(
      __atomic_load_n(reinterpret_cast<const uint32_t*>(&slot.state), __ATOMIC_ACQUIRE));
}

Error launcher_died() { return Error(Errc::conflict, "launcher died"); }

// About a child of this launcher, which its successor would not know.
Co<Result<Answered>> ask_this(AskChannel& channel, Request request, std::vector<int> fds) {
  auto answered = co_await channel.ask(request, std::move(fds), kAnswerLimit);
  if (!answered && answered.error().is_errno(EPIPE)) co_return launcher_died();
  co_return answered;
}

}  // namespace

// One process of a key. The pidfd is for the case that the launcher dies before it records the
// exit.
struct RemoteLauncher::Child {
  explicit Child(const asio::any_io_executor& executor)
      : exited(std::make_shared<Event>(executor)) {}
  uint32_t slot = kNoSlot;
  UniqueFd pidfd;
  std::shared_ptr<Event> exited;
};

// One launcher: the channel to it and its table.
struct RemoteLauncher::Connection {
  ~Connection() {
    if (table != nullptr) ::munmap(const_cast<TableHeader*>(table), kTableBytes);
  }
  const Slot* slots() const {
    return reinterpret_cast<const Slot*>(reinterpret_cast<const char*>(table) +
                                         sizeof(TableHeader));
  }
  std::shared_ptr<AskChannel> channel;
  const TableHeader* table = nullptr;
  uint32_t ops = 0;  // op kinds this launcher knows
  pid_t pid = 0;
  std::string build;
};

RemoteLauncher::RemoteLauncher(asio::any_io_executor executor)
    : executor_(executor), scope_(executor), connected_(executor) {}

RemoteLauncher::~RemoteLauncher() = default;

Co<Result<void>> RemoteLauncher::start_or_connect(Config config) {
  config_ = std::move(config);
  programs_ = GANTRY_CO_TRY(load_launcher_programs(config_.launcher_binary, config_.logger_binary));
  co_return co_await start_or_connect_again();
}

Co<Result<void>> RemoteLauncher::start_or_connect_again() {
  auto connected = co_await connect();
  if (connected) co_return connected;
  const LauncherWas was = GANTRY_CO_TRY(co_await start_launcher(
      programs_, {.runtime_dir = config_.runtime_dir, .cgroup_root = config_.cgroup_root}));
  is_own_ = was == LauncherWas::started;
  co_return co_await connect();
}

Co<Result<void>> RemoteLauncher::connect() {
  auto connection = std::make_shared<Connection>();
  connection->channel =
      GANTRY_CO_TRY(AskChannel::connect(executor_, cat(config_.runtime_dir, "/", kLauncherSocket)));
  scope_.spawn(serve(connection));
  Result<void> ready = co_await greet(*connection);
  if (ready && connection->build != programs_.build) ready = co_await upgrade(*connection);
  // It answered and died: serve() has come to its end and left the next attempt to us.
  if (ready && connection->channel->is_lost()) ready = launcher_died();
  if (!ready) {
    connection->channel->close();
    co_return ready;
  }
  launcher_pid_ = connection->pid;
  // The old table stays mapped until here: its records are readable without a launcher.
  connection_ = connection;
  ++generation_;
  connected_.notify();
  co_return Result<void>();
}

Co<Result<void>> RemoteLauncher::greet(Connection& connection) {
  Request hello;
  hello.head.type = MessageType::kHello;
  Answered answered = GANTRY_CO_TRY(
      (co_await connection.channel->ask(hello, {}, kAnswerLimit)).context("greet the launcher"));
  if (answered.answer.error != 0) co_return error_of(answered.answer, "greet the launcher");
  if (!answered.fd) co_return Error(Errc::corrupt, "the launcher sent no table");
  if (connection.table == nullptr) {
    void* table = ::mmap(nullptr, kTableBytes, PROT_READ, MAP_SHARED, answered.fd.get(), 0);
    if (table == MAP_FAILED) co_return Error::from_errno(errno, "map the launcher's table");
    connection.table = static_cast<const TableHeader*>(table);
  }
  connection.ops = answered.answer.ops;
  connection.pid = answered.answer.pid;
  connection.build.assign(answered.answer.text,
                          ::strnlen(answered.answer.text, sizeof answered.answer.text));
  co_return Result<void>();
}

// A launcher that can't become ours is used as it is: ops that it does not know are refused.
Co<Result<void>> RemoteLauncher::upgrade(Connection& connection) {
  upgrade_refused_.clear();
  GANTRY_FAILPOINT_CO_TRY("upgrade.before_launcher");
  Request request;
  request.head.type = MessageType::kUpgrade;
  copy_text(request.key, programs_.build);
  std::vector<int> programs = {programs_.launcher.get(), programs_.logger.get()};
  Answered answered =
      GANTRY_CO_TRY((co_await connection.channel->ask(request, std::move(programs), kAnswerLimit))
                        .context("upgrade the launcher"));
  GANTRY_FAILPOINT_CO_TRY("upgrade.after_launcher");
  if (answered.answer.error == 0) co_return co_await greet(connection);
  const Error refused = error_of(answered.answer, "upgrade the launcher");
  upgrade_refused_ = refused.to_string();
  if (connection.table->version == kProtocolVersion) co_return Result<void>();
  co_return Error(Errc::unsupported, cat("the running gantry-launcher keeps a table of version ",
                                         connection.table->version, ", this executor reads ",
                                         kProtocolVersion, ": ", upgrade_refused_));
}

Co<void> RemoteLauncher::serve(std::shared_ptr<Connection> connection) {
  co_await connection->channel->serve([this, raw = connection.get()](const Answer& pushed) {
    if (raw == connection_.get()) take_push(pushed);
  });
  if (!closing_ && connection_ == connection) scope_.spawn(reconnect());
}

Co<void> RemoteLauncher::reconnect() {
  while (!closing_ && !co_await is_cancelled()) {
    if (co_await start_or_connect_again()) break;
    co_await sleep_for(500ms);
  }
  note_exits();
}

uint64_t RemoteLauncher::generation() const {
  return connection_ == nullptr || connection_->channel->has_ended() ? generation_ + 1
                                                                     : generation_;
}

void RemoteLauncher::take_push(const Answer& pushed) {
  if (pushed.head.type == MessageType::kRescan) return note_exits();
  if (pushed.head.type != MessageType::kExited || pushed.slot >= kTableSlots) return;
  auto it = children_.find(connection_->slots()[pushed.slot].key);
  if (it != children_.end()) it->second.exited->notify();
}

void RemoteLauncher::note_exits() {
  for (auto& [key, child] : children_) child.exited->notify();
}

Co<Result<std::shared_ptr<RemoteLauncher::Connection>>> RemoteLauncher::connected() {
  const auto deadline = std::chrono::steady_clock::now() + kAnswerLimit;
  while (connection_ == nullptr || connection_->channel->is_lost()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero() || closing_) co_return launcher_died();
    co_await connected_.wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
  }
  co_return connection_;
}

// What a launcher has not heard, its successor is told.
Co<Result<Answered>> RemoteLauncher::ask_whoever_lives(Request request, std::vector<int> fds) {
  for (;;) {
    auto connection = GANTRY_CO_TRY(co_await connected());
    auto answered = co_await connection->channel->ask(request, fds, kAnswerLimit);
    if (answered || !answered.error().is_errno(EPIPE)) co_return answered;
    const auto begun = std::chrono::steady_clock::now();
    while (connection_ == connection) {
      const auto waited = std::chrono::steady_clock::now() - begun;
      if (waited >= kAnswerLimit || closing_) co_return launcher_died();
      // What it had answered before is read first.
      if (waited >= kReadRest) connection->channel->close();
      co_await connected_.wait(waited >= kReadRest ? kAnswerLimit - waited : kReadRest);
      if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
    }
  }
}

Co<Result<Answered>> RemoteLauncher::ask(MessageType type, std::string key, std::string what) {
  Request request;
  request.head.type = type;
  if (!copy_text(request.key, key)) co_return Error(Errc::not_found, cat(what, ": no such key"));
  auto answered = co_await ask_whoever_lives(std::move(request), {});
  if (!answered) co_return std::move(answered.error()).context(what);
  if (answered->answer.error != 0) co_return error_of(answered->answer, std::move(what));
  co_return std::move(*answered);
}

namespace {
Result<Request> child_request(MessageType type, const std::string& key, const LaunchIo& io) {
  Request request;
  request.head.type = type;
  if (key.empty() || !copy_text(request.key, key)) {
    return Error(Errc::invalid, cat("a launch's key has 1 to ", kKeyBytes - 1, " bytes"));
  }
  if (!copy_text(request.log_directory, io.log_directory)) {
    return Error(Errc::invalid, cat("the sandbox's path is longer than ", kLogDirectoryBytes - 1,
                                    " bytes: ", io.log_directory));
  }
  request.sizes[0] = io.log_limits.bytes;
  request.sizes[1] = io.log_limits.files;
  return request;
}

void add_kept(const LaunchIo& io, Request& request, std::vector<int>& fds) {
  const UniqueFd* const kept[] = {&io.stdout_read, &io.stderr_read, &io.stdin_write};
  for (uint32_t i = 0; i < 3; ++i) {
    if (!kept[i]->valid()) continue;
    request.flags |= 1u << i;
    fds.push_back(kept[i]->get());
  }
}
}  // namespace

Result<ProcessRef> RemoteLauncher::note_child(const std::string& key, Answered answered) {
  if (!answered.fd) return Error(Errc::corrupt, "the launcher sent no pidfd");
  Child child(executor_);
  child.slot = answered.answer.slot;
  child.pidfd = GANTRY_TRY(sys::duplicate(answered.fd.get()));
  children_.insert_or_assign(key, std::move(child));
  ProcessIdentity identity{answered.answer.pid, answered.answer.start_time, boot_id()};
  return ProcessRef(std::move(answered.fd), std::move(identity));
}

Co<Result<ProcessRef>> RemoteLauncher::adopt(std::string key, pid_t pid, Adoptee what,
                                             LaunchIo io) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kAdopt, key, io));
  request.pid = pid;
  if (what == Adoptee::to_exec) request.flags |= kIsToExec;
  auto connection = GANTRY_CO_TRY(co_await connected());
  std::vector<int> fds;
  add_kept(io, request, fds);
  auto answered = GANTRY_CO_TRY(co_await ask_this(*connection->channel, request, std::move(fds)));
  if (answered.answer.error == ESRCH) {
    co_return Error(Errc::not_found, cat("process ", pid, " is no child of the launcher"));
  }
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("adopt ", key));
  co_return note_child(key, std::move(answered));
}

Co<Result<LaunchedChild>> RemoteLauncher::launch(std::string key, LaunchPlan& plan, LaunchIo io) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kLaunch, key, io));
  const auto connection = GANTRY_CO_TRY(co_await connected());
  for (const Op& op : plan.ops()) {
    if (static_cast<uint32_t>(op.kind) >= connection->ops) {
      co_return Error(Errc::unsupported, "the running gantry-launcher is older than this executor");
    }
  }
  std::vector<int> fds;
  fds.reserve(plan.fds().size() + 4);
  fds.push_back(plan.memfd());
  for (const UniqueFd& fd : plan.fds()) fds.push_back(fd.get());
  add_kept(io, request, fds);
  auto answered = GANTRY_CO_TRY(co_await ask_whoever_lives(request, std::move(fds)));
  // KERNEL: EAGAIN of clone3(2): a limit of processes.
  if (answered.answer.error == EAGAIN) {
    co_return Error(
        Errc::exhausted,
        cat("no more processes: pids.max of ", config_.cgroup_root,
            " or of a cgroup above it, kernel.pid_max or kernel.threads-max is reached; "
            "end something, or raise it"));
  }
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("launch ", key));
  // ORDER: our copies go now, the report pipe's write end among them: its end-of-file shall be the
  // child's doing alone.
  plan.close_fds();
  ProcessRef process = GANTRY_CO_TRY(note_child(key, std::move(answered)));
  co_return LaunchedChild{std::move(process), plan.take_report_pipe()};
}

Co<Result<void>> RemoteLauncher::assign(std::string from, std::string to, LaunchIo io) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kAssign, to, io));
  auto connection = GANTRY_CO_TRY(co_await connected());
  auto it = children_.find(from);
  if (it == children_.end()) co_return Error(Errc::not_found, cat("no child ", from));
  request.slot = it->second.slot;
  std::vector<int> fds;
  add_kept(io, request, fds);
  auto answered = GANTRY_CO_TRY(co_await ask_this(*connection->channel, request, std::move(fds)));
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("assign ", to));
  auto node = children_.extract(from);
  if (node) {
    node.key() = std::move(to);
    children_.insert(std::move(node));
  }
  co_return Result<void>();
}

Co<Result<void>> RemoteLauncher::give_terminal(std::string key, UniqueFd master) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kGiveTerminal, key, {}));
  auto connection = GANTRY_CO_TRY(co_await connected());
  std::vector<int> fds = {master.get()};
  auto answered = GANTRY_CO_TRY(co_await ask_this(*connection->channel, request, std::move(fds)));
  if (answered.answer.error != 0) {
    co_return error_of(answered.answer, cat("give the terminal of ", key));
  }
  co_return Result<void>();
}

const Slot* RemoteLauncher::find_slot(const std::string& key) {
  if (connection_ == nullptr || connection_->table == nullptr) return nullptr;
  auto matches = [&](uint32_t i) {
    const Slot& slot = connection_->slots()[i];
    return state_of(slot) != SlotState::kFree && key == slot.key;
  };
  auto it = children_.find(key);
  if (it != children_.end() && it->second.slot < kTableSlots && matches(it->second.slot)) {
    return &connection_->slots()[it->second.slot];
  }
  const uint32_t used = std::min(connection_->table->high_water, kTableSlots);
  for (uint32_t i = 0; i < used; ++i) {
    if (!matches(i)) continue;
    if (it != children_.end()) it->second.slot = i;
    return &connection_->slots()[i];
  }
  return nullptr;
}

Co<Result<ExitRecord>> RemoteLauncher::wait_exit(std::string key, std::optional<Duration> limit) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const Slot* slot = find_slot(key);
    if (slot == nullptr) {
      if (children_.contains(key)) co_return co_await exit_of_lost(key);
      co_return Error(Errc::not_found, cat("the launcher knows no ", key));
    }
    const SlotState state = state_of(*slot);
    const bool is_lost = state == SlotState::kLost;
    if (state == SlotState::kExited || (is_lost && (slot->flags & kNeverExeced) != 0)) {
      co_return exit_of(*slot);
    }
    if (is_lost) co_return co_await exit_of_lost(key);
    auto it = children_.find(key);
    if (it == children_.end()) {
      it = children_.emplace(key, Child(executor_)).first;
      it->second.slot = static_cast<uint32_t>(slot - connection_->slots());
    }
    auto exited = it->second.exited;
    std::optional<Duration> left;
    if (limit) left = *limit - (std::chrono::steady_clock::now() - start);
    if (left && *left <= Duration::zero()) {
      co_return Error(Errc::timed_out, cat("process ", slot->pid, " has not ended"));
    }
    co_await exited->wait(left);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
  }
}

// The launcher died and its successor came too late: our own pidfd is the second source.
Co<Result<ExitRecord>> RemoteLauncher::exit_of_lost(std::string key) {
  const auto deadline = std::chrono::steady_clock::now() + kLostLimit;
  for (;;) {
    auto it = children_.find(key);
    if (it == children_.end() || !it->second.pidfd) co_return launcher_died();
    auto status = sys::pidfd_exit_status(it->second.pidfd.get());
    if (status) co_return ExitRecord{.wait_status = *status, .exit_time_ns = sys::realtime_ns()};
    if (status.error().is(Errc::unsupported) || std::chrono::steady_clock::now() > deadline) {
      co_return launcher_died();
    }
    // KERNEL: not until the new parent has reaped it, and no event says when.
    co_await sleep_for(20ms);
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
  }
}

Co<Result<void>> RemoteLauncher::forget(std::string key) {
  auto forgotten = co_await ask(MessageType::kForget, key, cat("forget ", key));
  // Once more, of the next launcher if this one has died: nobody else would before a recovery.
  if (!forgotten) forgotten = co_await ask(MessageType::kForget, key, cat("forget ", key));
  if (!forgotten) co_return std::move(forgotten).error();
  auto it = children_.find(key);
  if (it != children_.end()) {
    it->second.exited->notify();
    children_.erase(it);
  }
  co_return Result<void>();
}

Co<Result<UniqueFd>> RemoteLauncher::open_stdin(std::string key) {
  auto answered =
      GANTRY_CO_TRY(co_await ask(MessageType::kOpenStdin, key, cat("open stdin of ", key)));
  if (!answered.fd) co_return Error(Errc::corrupt, "the launcher sent no descriptor");
  co_return std::move(answered.fd);
}

Co<Result<void>> RemoteLauncher::close_stdin(std::string key) {
  GANTRY_CO_TRY(co_await ask(MessageType::kCloseStdin, key, cat("close stdin of ", key)));
  co_return Result<void>();
}

Co<Result<std::vector<KnownChild>>> RemoteLauncher::recover() {
  GANTRY_CO_TRY(co_await connected());
  std::vector<KnownChild> known;
  const uint32_t used = std::min(connection_->table->high_water, kTableSlots);
  for (uint32_t i = 0; i < used; ++i) {
    const Slot& slot = connection_->slots()[i];
    const SlotState state = state_of(slot);
    if (state == SlotState::kFree || state == SlotState::kReserved) continue;
    KnownChild child{
        .key = slot.key, .process = {slot.pid, slot.start_time, boot_id()}, .exit = std::nullopt};
    if (state == SlotState::kExited) child.exit = exit_of(slot);
    if (!children_.contains(child.key)) {
      Child own(executor_);
      own.slot = i;
      if (state == SlotState::kRunning || state == SlotState::kOrphan) {
        auto pidfd = sys::pidfd_open(slot.pid);
        if (pidfd) own.pidfd = std::move(*pidfd);
      }
      children_.emplace(child.key, std::move(own));
    }
    known.push_back(std::move(child));
  }
  co_return known;
}

Co<Result<void>> RemoteLauncher::shutdown() {
  // ORDER: before the question: the end-of-file that follows the answer is no death to be mended.
  closing_ = true;
  auto answered = co_await ask(MessageType::kShutdown, {}, "end the launcher");
  if (!answered) {
    closing_ = false;
    if (connection_ != nullptr && connection_->channel->is_lost()) scope_.spawn(reconnect());
    co_return std::move(answered.error());
  }
  auto ended = co_await remove_launcher(launcher_pid_, config_.runtime_dir, config_.cgroup_root);
  co_await close();
  co_return ended;
}

Co<Result<void>> RemoteLauncher::shutdown_if_unused() {
  if (!is_own_ || connection_ == nullptr) co_return Result<void>();
  if (!GANTRY_CO_TRY(co_await recover()).empty()) co_return Result<void>();
  co_return co_await shutdown();
}

Co<void> RemoteLauncher::close() {
  closing_ = true;
  if (connection_ != nullptr) connection_->channel->close();
  note_exits();
  connected_.notify();
  co_await scope_.close();
  connection_ = nullptr;
}
}  // namespace gantry
