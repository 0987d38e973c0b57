// AskChannel: one connection to gantry-launcher or gantry-logger: requests and their answers, and
// what is pushed in between. Of requests with a limit 64 are in flight, the others wait in line.
// Threads: loop only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/co.h"
#include "base/unique_fd.h"
#include "launcher/protocol.h"

namespace gantry {
struct Answered {
  Answer answer;
  UniqueFd fd;  // what came with it
};

class AskChannel {
 public:
  static Result<std::shared_ptr<AskChannel>> connect(asio::any_io_executor executor,
                                                     const std::string& path);
  AskChannel(asio::any_io_executor executor, UniqueFd socket);

  // Reads until the connection is lost; then every request in flight fails. Spawned by the owner,
  // which outlives it. Answers go to their askers, all else to `push`.
  Co<void> serve(std::function<void(const Answer&)> push);

  // Errc::conflict when the other end dies meanwhile. The limit is the answer's, not the line's.
  // With a limit the answer is awaited even by a cancelled asker (something was done, and must be
  // known); without one cancelling ends the wait.
  Co<Result<Answered>> ask(Request request, std::vector<int> fds, std::optional<Duration> limit);

  // Ends the connection; serve() returns.
  void close();
  bool is_lost() const { return is_lost_; }
  // As is_lost(), but asks the kernel: serve() may not have come to it yet.
  bool has_ended();

 private:
  struct Pending;
  struct Turn;
  Co<void> wait_turn();
  void next_turn();
  Co<Result<Answered>> ask_now(Request request, std::vector<int> fds,
                               std::optional<Duration> limit);
  void take(Answered answered, const std::function<void(const Answer&)>& push);
  Co<Result<void>> send(const Request& request, const std::vector<int>& fds,
                        std::chrono::steady_clock::time_point deadline);

  asio::any_io_executor executor_;
  asio::posix::stream_descriptor socket_;
  std::unordered_map<uint64_t, Pending*> pending_;
  std::deque<Turn*> in_line_;
  size_t in_flight_ = 0;
  uint64_t next_request_ = 1;
  bool is_lost_ = false;
};

// An answer's error as a Result's, in the words of `what`.
Error error_of(const Answer& answer, std::string what);
}  // namespace gantry
