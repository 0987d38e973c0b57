// gantry executor, gantry executor stop
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/on_demand.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
constexpr int64_t kStopDeadlineNs = 30'000'000'000;

class Executor final : public Command {
 public:
  void declare(Flags& flags) override { flags.pass_unknown(); }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    if (!words.empty() && words[0] == "stop") {
      GANTRY_TRY(want_arguments(words, 1, 1, "stop"));
      return stop(session);
    }
    return become_executor(session, words);
  }

 private:
  // What is not ours is gantry-executor's to understand or to refuse.
  static Result<int> become_executor(Session& session, const std::vector<std::string>& words) {
    std::vector<std::string> arguments = {sibling_program("gantry-executor")};
    const Location location = session.location();
    arguments.insert(arguments.end(),
                     {"--runtime-dir", location.runtime_dir, "--socket", location.socket});
    if (location.here) arguments.emplace_back("--here");
    arguments.insert(arguments.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& word : arguments) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    return Error::from_errno(errno, cat("exec ", arguments[0]));
  }

  static Result<int> stop(Session& session) {
    Connection connection = GANTRY_TRY(session.connect_to_running());
    // Held before it ends, so that its number cannot become another process's.
    ucred peer = {};
    socklen_t size = sizeof peer;
    ::getsockopt(connection.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
    const Result<UniqueFd> process = sys::pidfd_open(peer.pid);
    GANTRY_TRY(connection.send(
        Connection::format(api_request(R"({"type":"GANTRY_SHUTDOWN","gantry_shutdown":{}})"))));
    const Result<HttpResponse> response = connection.receive();
    // It may be gone before the answer is through; that it is gone is what counts.
    if (!response && !response.error().is(Errc::cancelled)) return response.error();
    if (response && response->head.status / 100 != 2) return refusal(*response);
    const int64_t deadline = sys::monotonic_ns() + kStopDeadlineNs;
    while (session.connect_to_running() || (process && !sys::pidfd_ended(process->get()))) {
      if (sys::monotonic_ns() > deadline) {
        return Error(Errc::timed_out, cat("the executor said it would end, but after 30 seconds it "
                                          "still runs: ",
                                          session.location().socket));
      }
      ::poll(nullptr, 0, 20);
    }
    write_out(session.json() ? "{\"stopped\":true}\n" : "stopped\n");
    return 0;
  }
};
}  // namespace

std::unique_ptr<Command> make_executor() { return make_command<Executor>(); }
}  // namespace gantry::cli
