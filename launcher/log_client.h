// LogClient: what the executor asks gantry-logger: how much output there is, and when there is
// more. The output itself is read from the files. Threads: loop only. A logger that dies is
// restarted by the launcher; questions in flight are asked again.
#pragma once

#include <memory>
#include <string>

#include "base/scope.h"
#include "launcher/ask_channel.h"

namespace gantry {
struct LogSizes {
  uint64_t out = 0, err = 0;  // bytes in the files `stdout` and `stderr`
  bool out_ended = false, err_ended = false;
  bool operator==(const LogSizes&) const = default;
};

class LogClient {
 public:
  LogClient(asio::any_io_executor executor, std::string runtime_dir);
  ~LogClient();

  // After this everything that was in the pipes is in the files. Errc::not_found for an unknown
  // key.
  Co<Result<LogSizes>> flush(std::string key);
  // When there is more than `known`, or an end that was not; at once when there is already. No
  // deadline: ends with the container or its waiter.
  Co<Result<LogSizes>> wait_growth(std::string key, LogSizes known);
  // Last call before destruction.
  Co<void> close();

 private:
  Co<Result<LogSizes>> ask(Request request, std::optional<Duration> limit);
  Co<Result<std::shared_ptr<AskChannel>>> connected();

  asio::any_io_executor executor_;
  std::string socket_path_;
  Scope scope_;
  std::shared_ptr<AskChannel> channel_;
  bool closing_ = false;
};
}  // namespace gantry
