// LogClient: what the executor asks gantry-logger: how much output there is, and when there is
// more. The output itself is read from the files. Threads: loop only. A logger that dies is
// restarted by the launcher; questions in flight are asked again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/scope.h"
#include "launcher/ask_channel.h"

namespace gantry {
struct LogSizes {
  uint64_t out = 0, err = 0;  // bytes in the files `stdout` and `stderr`
  bool out_ended = false, err_ended = false;
  bool has_no_room = false;  // there is more than the disk takes now
  bool operator==(const LogSizes&) const = default;
};

class LogClient {
 public:
  LogClient(asio::any_io_executor executor, std::string runtime_dir);
  ~LogClient();

  // After this everything that was in the pipes is in the files. Errc::not_found for an unknown
  // key.
  static constexpr Duration kFlushLimit = std::chrono::seconds(10);
  Co<Result<LogSizes>> flush(std::string key, Duration limit = kFlushLimit);
  // When there is more than `known`, or an end that was not; at once when there is already. No
  // deadline: ends with the container or its waiter.
  Co<Result<LogSizes>> wait_growth(std::string key, LogSizes known);
  // From now on `tell` hears of output that waits because its disk takes nothing: the key and an
  // errno; 0: it goes on. Stays connected for that.
  void watch_stalls(std::function<void(std::string_view key, int error)> tell);
  // Last call before destruction.
  Co<void> close();

 private:
  Co<Result<LogSizes>> ask(Request request, std::optional<Duration> limit);
  Co<Result<std::shared_ptr<AskChannel>>> connected();
  Co<void> serve(std::shared_ptr<AskChannel> channel);
  Co<void> stay_connected();

  asio::any_io_executor executor_;
  std::string socket_path_;
  Scope scope_;
  std::shared_ptr<AskChannel> channel_;
  std::function<void(std::string_view, int)> tell_stall_;
  bool closing_ = false;
};
}  // namespace gantry
