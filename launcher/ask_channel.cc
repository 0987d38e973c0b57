#include "launcher/ask_channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <boost/asio/as_tuple.hpp>

#include "base/sys.h"
#include "launcher/node/wire.h"

namespace gantry {
namespace {
// PROTOCOL: who lets its answers pile up is dropped (Launcher::send_answer). So many fit into a
// socket's buffer, with as many pushes beside them.
constexpr size_t kMostInFlight = 64;
}  // namespace

struct AskChannel::Turn {
  explicit Turn(const asio::any_io_executor& executor) : event(executor) {}
  Event event;
  bool has_come = false;
};

// First come, first served. A cancelled asker gets its turn too: what it asks may be an undo.
Co<void> AskChannel::wait_turn() {
  if (in_flight_ < kMostInFlight) {
    ++in_flight_;
    co_return;
  }
  Turn turn(executor_);
  in_line_.push_back(&turn);
  while (!turn.has_come) co_await turn.event.wait();
}

void AskChannel::next_turn() {
  if (in_line_.empty()) {
    --in_flight_;
    return;
  }
  Turn& next = *in_line_.front();
  in_line_.pop_front();
  next.has_come = true;
  next.event.notify();
}

struct AskChannel::Pending {
  explicit Pending(const asio::any_io_executor& executor) : done(executor) {}
  Event done;
  std::optional<Answered> answered;
  bool is_over = false;
};

Result<std::shared_ptr<AskChannel>> AskChannel::connect(asio::any_io_executor executor,
                                                        const std::string& path) {
  UniqueFd socket = GANTRY_TRY(sys::connect_unix(path, SOCK_SEQPACKET | SOCK_NONBLOCK));
  return std::make_shared<AskChannel>(std::move(executor), std::move(socket));
}

AskChannel::AskChannel(asio::any_io_executor executor, UniqueFd socket)
    : executor_(executor), socket_(executor, socket.release()) {}

Co<void> AskChannel::serve(std::function<void(const Answer&)> push) {
  while (!is_lost_) {
    auto [code] = co_await socket_.async_wait(asio::posix::descriptor_base::wait_read,
                                              asio::as_tuple(asio::use_awaitable));
    if (code) break;
    while (!is_lost_) {
      Answered answered;
      node::Received received;
      node::receive(socket_.native_handle(), &answered.answer, sizeof answered.answer, &received);
      if (received.bytes == -EAGAIN) break;
      if (received.fd_count > 0) {
        answered.fd.reset(received.fds[0]);
        received.fds[0] = -1;
      }
      received.close_rest();
      if (received.bytes != static_cast<ssize_t>(sizeof answered.answer) ||
          answered.answer.head.magic != kProtocolMagic) {
        is_lost_ = true;
        break;
      }
      take(std::move(answered), push);
    }
  }
  close();
  for (auto& [request, pending] : std::exchange(pending_, {})) {
    pending->is_over = true;
    pending->done.notify();
  }
}

void AskChannel::take(Answered answered, const std::function<void(const Answer&)>& push) {
  auto it = pending_.find(answered.answer.head.request);
  if (answered.answer.head.request == 0 || it == pending_.end()) {
    if (answered.answer.head.request == 0) push(answered.answer);
    return;
  }
  Pending* pending = it->second;
  pending_.erase(it);
  pending->answered = std::move(answered);
  pending->is_over = true;
  pending->done.notify();
}

Co<Result<void>> AskChannel::send(const Request& request, const std::vector<int>& fds,
                                  std::chrono::steady_clock::time_point deadline) {
  const std::string_view bytes(reinterpret_cast<const char*>(&request), sizeof request);
  for (;;) {
    if (is_lost_) co_return Error(Errc::conflict, "the other end died");
    auto sent = sys::send_message(socket_.native_handle(), bytes, fds);
    if (sent) co_return Result<void>();
    if (sent.error().is_errno(EPIPE)) co_return sent;
    if (!sent.error().is_errno(EAGAIN)) {
      co_return Error(Errc::conflict, sent.error().to_string());
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      co_return Error(Errc::timed_out, "the other end does not read");
    }
    // Full: it works through a burst. Rare, so that a short sleep is better than a second watcher.
    co_await sleep_for(std::chrono::milliseconds(1));
  }
}

Co<Result<Answered>> AskChannel::ask(Request request, std::vector<int> fds,
                                     std::optional<Duration> limit) {
  // Without a limit it asks to be told of an event, and others must not wait for that.
  if (!limit) co_return co_await ask_now(request, std::move(fds), limit);
  co_await wait_turn();
  Result<Answered> answered = co_await ask_now(request, std::move(fds), limit);
  next_turn();
  co_return answered;
}

Co<Result<Answered>> AskChannel::ask_now(Request request, std::vector<int> fds,
                                         std::optional<Duration> limit) {
  request.head.request = next_request_++;
  Pending pending(executor_);
  pending_[request.head.request] = &pending;
  const auto deadline =
      std::chrono::steady_clock::now() + limit.value_or(std::chrono::hours(24 * 365));
  auto sent = co_await send(request, fds, deadline);
  if (!sent) {
    pending_.erase(request.head.request);
    co_return std::move(sent.error());
  }
  while (!pending.is_over) {
    const auto left = deadline - std::chrono::steady_clock::now();
    const bool is_given_up = !limit && co_await is_cancelled();
    if (left <= Duration::zero() || is_given_up) {
      pending_.erase(request.head.request);
      if (is_given_up) co_return Error(Errc::cancelled, "cancelled");
      co_return Error(Errc::timed_out, "no answer came in time");
    }
    co_await pending.done.wait(left);
  }
  if (!pending.answered) co_return Error(Errc::conflict, "the other end died");
  co_return std::move(*pending.answered);
}

bool AskChannel::has_ended() {
  if (is_lost_) return true;
  pollfd look = {socket_.native_handle(), POLLRDHUP, 0};
  return ::poll(&look, 1, 0) != 0;
}

void AskChannel::close() {
  is_lost_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

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
}  // namespace gantry
