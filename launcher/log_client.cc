#include "launcher/log_client.h"

#include <cstring>

namespace gantry {
namespace {
using namespace std::chrono_literals;
}  // namespace

LogClient::LogClient(asio::any_io_executor executor, std::string runtime_dir)
    : executor_(executor), socket_path_(cat(runtime_dir, "/", kLoggerSocket)), scope_(executor) {}

LogClient::~LogClient() = default;

Co<Result<std::shared_ptr<AskChannel>>> LogClient::connected() {
  if (closing_) co_return Error(Errc::cancelled, "closing");
  if (channel_ == nullptr || channel_->is_lost()) {
    channel_ = GANTRY_CO_TRY(AskChannel::connect(executor_, socket_path_));
    scope_.spawn(serve(channel_));
  }
  co_return channel_;
}

Co<void> LogClient::serve(std::shared_ptr<AskChannel> channel) {
  co_await channel->serve([this](const Answer& pushed) {
    if (pushed.head.type != MessageType::kStalled || !tell_stall_) return;
    tell_stall_({pushed.text, ::strnlen(pushed.text, sizeof pushed.text)}, pushed.error);
  });
  if (tell_stall_) co_await stay_connected();
}

Co<void> LogClient::stay_connected() {
  while (!closing_ && !co_await is_cancelled()) {
    if (co_await connected()) break;
    co_await sleep_for(100ms);
  }
}

void LogClient::watch_stalls(std::function<void(std::string_view key, int error)> tell) {
  tell_stall_ = std::move(tell);
  scope_.spawn(stay_connected());
}

Co<Result<LogSizes>> LogClient::ask(Request request, std::optional<Duration> limit) {
  // Asked again while the logger is being restarted, and while the launcher's word of a new
  // container is still on its way to it.
  for (int tries_left = 50;; --tries_left) {
    Error error(Errc::conflict, "");
    auto channel = co_await connected();
    if (channel) {
      auto answered = co_await (*channel)->ask(request, {}, limit);
      if (answered && answered->answer.error == 0) {
        const Answer& a = answered->answer;
        co_return LogSizes{a.sizes[0], a.sizes[1], (a.flags & kIoStdout) != 0,
                           (a.flags & kIoStderr) != 0, (a.flags & kHasNoRoom) != 0};
      }
      error = answered ? error_of(answered->answer, cat("output of ", request.key))
                       : std::move(answered.error());
    } else {
      error = std::move(channel.error());
    }
    const bool is_final = error.is(Errc::cancelled) || error.is(Errc::timed_out);
    if (is_final || tries_left == 0 || co_await is_cancelled()) {
      co_return std::move(error).context("ask the logger");
    }
    co_await sleep_for(20ms);
  }
}

Co<Result<LogSizes>> LogClient::flush(std::string key, Duration limit) {
  Request request;
  request.head.type = MessageType::kFlush;
  if (key.size() >= sizeof request.key) co_return Error(Errc::not_found, "no such key");
  std::memcpy(request.key, key.data(), key.size());
  co_return co_await ask(request, limit);
}

Co<Result<LogSizes>> LogClient::wait_growth(std::string key, LogSizes known) {
  Request request;
  request.head.type = MessageType::kWatch;
  if (key.size() >= sizeof request.key) co_return Error(Errc::not_found, "no such key");
  std::memcpy(request.key, key.data(), key.size());
  request.sizes[0] = known.out;
  request.sizes[1] = known.err;
  if (known.out_ended) request.flags |= kIoStdout;
  if (known.err_ended) request.flags |= kIoStderr;
  co_return co_await ask(request, std::nullopt);
}

Co<void> LogClient::close() {
  closing_ = true;
  if (channel_ != nullptr) channel_->close();
  co_await scope_.close();
  channel_ = nullptr;
}
}  // namespace gantry
