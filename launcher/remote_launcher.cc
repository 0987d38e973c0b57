#include "launcher/remote_launcher.h"

#include <boost/asio/as_tuple.hpp>

#include <sys/mman.h>
#include <sys/socket.h>
#include <cstring>

#include "base/sys.h"
#include "launcher/node/wire.h"
#include "launcher/start_launcher.h"

namespace gantry {
namespace {
using namespace std::chrono_literals;
constexpr Duration kAnswerLimit = 10s;
constexpr Duration kLostLimit = 10s;

template <size_t N>
bool copy_text(char (&to)[N], const std::string& from) {
  if (from.size() >= N) return false;
  std::memcpy(to, from.c_str(), from.size() + 1);
  return true;
}

SlotState state_of(const Slot& slot) {
  return static_cast<SlotState>(
      __atomic_load_n(reinterpret_cast<const uint32_t*>(&slot.state), __ATOMIC_ACQUIRE));
}

Error launcher_died() { return Error(Errc::conflict, "launcher died"); }

Error error_of(const Answer& answer, std::string what) {
  if (answer.text[0] != '\0') what += cat(": ", std::string_view(answer.text));
  switch (answer.error) {
    case EEXIST:
      return Error(Errc::already_exists, std::move(what));
    case EBUSY:
      return Error(Errc::busy, std::move(what));
    case ENOENT:
      return Error(Errc::not_found, std::move(what));
    case EPROTO:
      return Error(Errc::unsupported, std::move(what));
    case ENOSPC:
      return Error(Errc::exhausted, std::move(what));
    default:
      return Error::from_errno(answer.error, std::move(what));
  }
}
}  // namespace

struct RemoteLauncher::Pending {
  explicit Pending(const asio::any_io_executor& executor) : done(executor) {}
  Event done;
  std::optional<Answered> answered;
  bool died = false;
};

// One process of a key. The pidfd is for the case that the launcher dies before it records the
// exit.
struct RemoteLauncher::Child {
  explicit Child(const asio::any_io_executor& executor)
      : exited(std::make_shared<Event>(executor)) {}
  uint32_t slot = kNoSlot;
  UniqueFd pidfd;
  std::shared_ptr<Event> exited;
};

struct RemoteLauncher::Connection {
  Connection(const asio::any_io_executor& executor, UniqueFd socket)
      : descriptor(executor, socket.release()) {}
  ~Connection() {
    if (table != nullptr) ::munmap(const_cast<TableHeader*>(table), kTableBytes);
  }
  const Slot* slots() const {
    return reinterpret_cast<const Slot*>(reinterpret_cast<const char*>(table) +
                                         sizeof(TableHeader));
  }
  asio::posix::stream_descriptor descriptor;
  const TableHeader* table = nullptr;
  uint32_t ops = 0;  // op kinds this launcher knows
  bool lost = false;
};

RemoteLauncher::RemoteLauncher(asio::any_io_executor executor)
    : executor_(executor), scope_(executor), connected_(executor) {}

RemoteLauncher::~RemoteLauncher() = default;

Co<Result<void>> RemoteLauncher::start_or_connect(Config config) {
  config_ = std::move(config);
  auto connected = co_await connect();
  if (connected) co_return connected;
  GANTRY_CO_TRY(co_await start());
  co_return co_await connect();
}

Co<Result<void>> RemoteLauncher::start() {
  GANTRY_CO_TRY(co_await start_launcher({.runtime_dir = config_.runtime_dir,
                                         .launcher_binary = config_.launcher_binary,
                                         .logger_binary = config_.logger_binary,
                                         .cgroup_root = config_.cgroup_root}));
  co_return Result<void>();
}

Co<Result<void>> RemoteLauncher::connect() {
  const std::string path = cat(config_.runtime_dir, "/", kLauncherSocket);
  UniqueFd socket = GANTRY_CO_TRY(sys::connect_unix(path, SOCK_SEQPACKET | SOCK_NONBLOCK));
  auto connection = std::make_shared<Connection>(executor_, std::move(socket));
  connection_ = connection;
  scope_.spawn(read_loop(connection));
  Request hello;
  hello.head.type = MessageType::kHello;
  auto answered = co_await ask_connected(hello, {}, kAnswerLimit);
  if (answered && answered->answer.error == 0 && answered->fd.valid()) {
    void* table = ::mmap(nullptr, kTableBytes, PROT_READ, MAP_SHARED, answered->fd.get(), 0);
    if (table != MAP_FAILED) connection->table = static_cast<const TableHeader*>(table);
  }
  if (connection->table == nullptr) {
    if (connection_ == connection) connection_ = nullptr;
    connection->lost = true;
    boost::system::error_code ignored;
    connection->descriptor.close(ignored);
    if (!answered) co_return std::move(answered.error()).context("greet the launcher");
    co_return error_of(answered->answer, "greet the launcher");
  }
  connection->ops = answered->answer.ops;
  launcher_pid_ = answered->answer.pid;
  connected_.notify();
  co_return Result<void>();
}

Co<void> RemoteLauncher::read_loop(std::shared_ptr<Connection> connection) {
  while (!connection->lost) {
    auto [code] = co_await connection->descriptor.async_wait(
        asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
    if (code || closing_) break;
    for (;;) {
      Answered answered;
      node::Received received;
      node::receive(connection->descriptor.native_handle(), &answered.answer,
                    sizeof answered.answer, &received);
      if (received.bytes == -EAGAIN) break;
      if (received.fd_count > 0) {
        answered.fd.reset(received.fds[0]);
        received.fds[0] = -1;
      }
      received.close_rest();
      if (received.bytes != static_cast<ssize_t>(sizeof answered.answer) ||
          answered.answer.head.magic != kProtocolMagic) {
        connection->lost = true;
        break;
      }
      dispatch(std::move(answered));
    }
  }
  connection->lost = true;
  if (closing_ || connection_ != connection) co_return;
  const bool greeted = connection->table != nullptr;
  for (auto& [request, pending] : pending_) {
    pending->died = true;
    pending->done.notify();
  }
  pending_.clear();
  if (greeted) scope_.spawn(reconnect());
}

Co<void> RemoteLauncher::reconnect() {
  // The old table stays mapped in connection_ until the new launcher has greeted.
  while (!closing_) {
    auto old = connection_;
    auto again = co_await start_or_connect(config_);
    if (again) break;
    if (connection_ == nullptr) connection_ = old;
    co_await sleep_for(500ms);
    if (co_await is_cancelled()) co_return;
  }
  note_exits();
}

void RemoteLauncher::dispatch(Answered answered) {
  const Answer& answer = answered.answer;
  switch (answer.head.type) {
    case MessageType::kDone: {
      auto it = pending_.find(answer.head.request);
      if (it == pending_.end()) return;
      Pending* pending = it->second;
      pending_.erase(it);
      pending->answered = std::move(answered);
      pending->done.notify();
      return;
    }
    case MessageType::kExited: {
      if (connection_->table == nullptr || answer.slot >= kTableSlots) return;
      auto it = children_.find(connection_->slots()[answer.slot].key);
      if (it != children_.end()) it->second.exited->notify();
      return;
    }
    case MessageType::kRescan:
      return note_exits();
    default:
      return;
  }
}

void RemoteLauncher::note_exits() {
  for (auto& [key, child] : children_) child.exited->notify();
}

Co<Result<void>> RemoteLauncher::wait_connected(Duration limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (connection_ == nullptr || connection_->lost || connection_->table == nullptr) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero() || closing_) co_return launcher_died();
    co_await connected_.wait(std::min<Duration>(left, 100ms));
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
  }
  co_return Result<void>();
}

Co<Result<RemoteLauncher::Answered>> RemoteLauncher::ask(Request request, std::vector<int> fds,
                                                         Duration limit) {
  GANTRY_CO_TRY(co_await wait_connected(limit));
  co_return co_await ask_connected(request, std::move(fds), limit);
}

Co<Result<RemoteLauncher::Answered>> RemoteLauncher::ask_connected(Request request,
                                                                   std::vector<int> fds,
                                                                   Duration limit) {
  request.head.request = next_request_++;
  auto connection = connection_;
  const std::string_view bytes(reinterpret_cast<const char*>(&request), sizeof request);
  Pending pending(executor_);
  pending_[request.head.request] = &pending;
  for (;;) {
    auto sent = sys::send_message(connection->descriptor.native_handle(), bytes, fds);
    if (sent) break;
    if (!sent.error().is_errno(EAGAIN)) {
      pending_.erase(request.head.request);
      co_return std::move(sent.error()).context("ask the launcher");
    }
    auto writable =
        co_await wait_fd(connection->descriptor.native_handle(), Readiness::write, limit);
    if (!writable) {
      pending_.erase(request.head.request);
      co_return std::move(writable.error()).context("ask the launcher");
    }
  }
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!pending.answered && !pending.died) {
    // A launch that was asked for must be heard of even when its asker was cancelled meanwhile: the
    // answer is never long in coming.
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) {
      pending_.erase(request.head.request);
      co_return Error(Errc::timed_out, "the launcher did not answer");
    }
    co_await pending.done.wait(left);
  }
  if (pending.died) co_return launcher_died();
  co_return std::move(*pending.answered);
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

Co<Result<ProcessRef>> RemoteLauncher::adopt(std::string key, pid_t pid, LaunchIo io) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kAdopt, key, io));
  request.pid = pid;
  GANTRY_CO_TRY(co_await wait_connected(kAnswerLimit));
  std::vector<int> fds;
  add_kept(io, request, fds);
  auto answered = GANTRY_CO_TRY(co_await ask_connected(request, std::move(fds), kAnswerLimit));
  if (answered.answer.error == ESRCH) {
    co_return Error(Errc::not_found, cat("process ", pid, " is no child of the launcher"));
  }
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("adopt ", key));
  co_return note_child(key, std::move(answered));
}

Co<Result<LaunchedChild>> RemoteLauncher::launch(std::string key, LaunchPlan& plan, LaunchIo io) {
  Request request = GANTRY_CO_TRY(child_request(MessageType::kLaunch, key, io));
  GANTRY_CO_TRY(co_await wait_connected(kAnswerLimit));
  for (const Op& op : plan.ops()) {
    if (static_cast<uint32_t>(op.kind) >= connection_->ops) {
      co_return Error(Errc::unsupported, "the running gantry-launcher is older than this executor");
    }
  }
  std::vector<int> fds;
  fds.reserve(plan.fds().size() + 4);
  fds.push_back(plan.memfd());
  for (const UniqueFd& fd : plan.fds()) fds.push_back(fd.get());
  add_kept(io, request, fds);
  auto answered = GANTRY_CO_TRY(co_await ask_connected(request, std::move(fds), kAnswerLimit));
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("launch ", key));
  // ORDER: our copies go now, the report pipe's write end among them: its end-of-file shall be the
  // child's doing alone.
  plan.close_fds();
  ProcessRef process = GANTRY_CO_TRY(note_child(key, std::move(answered)));
  co_return LaunchedChild{std::move(process), plan.take_report_pipe()};
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

Co<Result<ExitRecord>> RemoteLauncher::wait_exit(std::string key) {
  for (;;) {
    const Slot* slot = find_slot(key);
    if (slot == nullptr) {
      if (children_.contains(key)) co_return co_await exit_of_lost(key);
      co_return Error(Errc::not_found, cat("the launcher knows no ", key));
    }
    const SlotState state = state_of(*slot);
    if (state == SlotState::kExited) {
      co_return ExitRecord{slot->wait_status, slot->exit_time_ns, slot->user_us, slot->system_us,
                           slot->max_rss_kib};
    }
    if (state == SlotState::kLost) co_return co_await exit_of_lost(key);
    auto it = children_.find(key);
    if (it == children_.end()) {
      it = children_.emplace(key, Child(executor_)).first;
      it->second.slot = static_cast<uint32_t>(slot - connection_->slots());
    }
    auto exited = it->second.exited;
    co_await exited->wait();
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
  Request request;
  request.head.type = MessageType::kForget;
  if (!copy_text(request.key, key)) co_return Result<void>();
  auto answered = GANTRY_CO_TRY(co_await ask(request, {}, kAnswerLimit));
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("forget ", key));
  auto it = children_.find(key);
  if (it != children_.end()) {
    it->second.exited->notify();
    children_.erase(it);
  }
  co_return Result<void>();
}

Co<Result<UniqueFd>> RemoteLauncher::open_stdin(std::string key) {
  Request request;
  request.head.type = MessageType::kOpenStdin;
  if (!copy_text(request.key, key)) co_return Error(Errc::not_found, "no such key");
  auto answered = GANTRY_CO_TRY(co_await ask(request, {}, kAnswerLimit));
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("stdin of ", key));
  co_return std::move(answered.fd);
}

Co<Result<void>> RemoteLauncher::close_stdin(std::string key) {
  Request request;
  request.head.type = MessageType::kCloseStdin;
  if (!copy_text(request.key, key)) co_return Result<void>();
  auto answered = GANTRY_CO_TRY(co_await ask(request, {}, kAnswerLimit));
  if (answered.answer.error != 0) co_return error_of(answered.answer, cat("close stdin of ", key));
  co_return Result<void>();
}

Co<Result<std::vector<KnownChild>>> RemoteLauncher::recover() {
  GANTRY_CO_TRY(co_await wait_connected(kAnswerLimit));
  std::vector<KnownChild> known;
  const uint32_t used = std::min(connection_->table->high_water, kTableSlots);
  for (uint32_t i = 0; i < used; ++i) {
    const Slot& slot = connection_->slots()[i];
    const SlotState state = state_of(slot);
    if (state == SlotState::kFree || state == SlotState::kReserved) continue;
    KnownChild child{
        .key = slot.key, .process = {slot.pid, slot.start_time, boot_id()}, .exit = std::nullopt};
    if (state == SlotState::kExited) {
      child.exit = ExitRecord{slot.wait_status, slot.exit_time_ns, slot.user_us, slot.system_us,
                              slot.max_rss_kib};
    }
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
  Request request;
  request.head.type = MessageType::kShutdown;
  auto answered = GANTRY_CO_TRY(co_await ask(request, {}, kAnswerLimit));
  if (answered.answer.error != 0) co_return error_of(answered.answer, "end the launcher");
  closing_ = true;
  auto ended = co_await remove_launcher(launcher_pid_, config_.runtime_dir, config_.cgroup_root);
  co_await close();
  co_return ended;
}

Co<void> RemoteLauncher::close() {
  closing_ = true;
  if (connection_ != nullptr) {
    connection_->lost = true;
    boost::system::error_code ignored;
    connection_->descriptor.close(ignored);
  }
  note_exits();
  co_await scope_.close();
  connection_ = nullptr;
}
}  // namespace gantry
