// gantry executor, gantry executor stop, gantry executor upgrade
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/on_demand.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/settings.h"

namespace gantry::cli {
namespace {
constexpr int64_t kStopDeadlineNs = 30'000'000'000;
constexpr int kUpgradeLimitMs = 30'000;

class Executor final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.section("Settings of the executor");
    flags.add(0, "config", "FILE", &value_of("config"), kConfigHelp);
    for (const auto& setting : kTextSettings) add_setting(flags, setting);
    for (const auto& setting : kNumberSettings) add_setting(flags, setting);
    flags.pass_unknown();
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    if (!words.empty() && words[0] == "stop") {
      GANTRY_TRY(want_arguments(words, 1, 1, "stop"));
      return stop(session);
    }
    if (!words.empty() && words[0] == "upgrade") {
      GANTRY_TRY(want_arguments(words, 1, 2, "upgrade [PROGRAM]"));
      return upgrade(session, words.size() > 1 ? words[1] : sibling_program("gantry-executor"));
    }
    return become_executor(session, words);
  }

 private:
  std::optional<std::string>& value_of(std::string_view flag) {
    settings_.emplace_back(flag, std::nullopt);
    return settings_.back().second;
  }

  // Those that every command has stay with them.
  void add_setting(Flags& flags, const auto& setting) {
    if (setting.flag == "socket" || setting.flag == "runtime-dir") return;
    flags.add(0, setting.flag, setting.value, &value_of(setting.flag), setting.help);
  }

  // What is not ours is gantry-executor's to understand or to refuse.
  Result<int> become_executor(Session& session, const std::vector<std::string>& words) {
    std::vector<std::string> arguments = {sibling_program("gantry-executor")};
    const Location location = session.location();
    arguments.insert(arguments.end(),
                     {"--runtime-dir", location.runtime_dir, "--socket", location.socket});
    if (location.here) arguments.emplace_back("--here");
    for (const auto& [flag, value] : settings_) {
      if (value) arguments.insert(arguments.end(), {cat("--", flag), *value});
    }
    arguments.insert(arguments.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& word : arguments) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    return Error::from_errno(errno, cat("exec ", arguments[0]));
  }

  static pid_t peer_of(const Connection& connection) {
    ucred peer = {};
    socklen_t size = sizeof peer;
    ::getsockopt(connection.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
    return peer.pid;
  }

  static Result<int> upgrade(Session& session, const std::string& program) {
    Connection connection = GANTRY_TRY(session.connect_to_running());
    const pid_t pid = peer_of(connection);
    char* const absolute = ::realpath(program.c_str(), nullptr);
    if (absolute == nullptr) return Error::from_errno(errno, program);
    JsonWriter json;
    json.open().text("type", "GANTRY_UPGRADE");
    json.open("gantry_upgrade").text("program", absolute).close();
    ::free(absolute);
    GANTRY_TRY(connection.send(Connection::format(api_request(json.close().take()))));
    const HttpResponse response = GANTRY_TRY(connection.receive());
    if (response.head.status / 100 != 2) return refusal(response);
    // The old program closes the connection; the new one answers the next.
    pollfd closed = {connection.fd(), POLLIN | POLLRDHUP, 0};
    if (::poll(&closed, 1, kUpgradeLimitMs) != 1) {
      return Error(Errc::timed_out, "the executor said it would become another, but goes on");
    }
    Connection next = GANTRY_TRY(session.connect_to_running().context(
        "the executor ended instead of becoming ", program,
        " (its log says why; containers go on, the next executor adopts them)"));
    GANTRY_TRY(next.send(Connection::format(api_request(R"({"type":"GET_HEALTH"})"))));
    GANTRY_TRY(next.receive().context("the executor does not answer as ", program));
    write_out(session.json() ? cat("{\"upgraded\":true,\"pid\":", pid, "}\n")
                             : cat("the executor (pid ", pid, ") has become ", program, "\n"));
    return 0;
  }

  static Result<int> stop(Session& session) {
    Connection connection = GANTRY_TRY(session.connect_to_running());
    // Held before it ends, so that its number cannot become another process's.
    const Result<UniqueFd> process = sys::pidfd_open(peer_of(connection));
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

  std::deque<std::pair<std::string_view, std::optional<std::string>>> settings_;
};
}  // namespace

std::unique_ptr<Command> make_executor() { return make_command<Executor>(); }
}  // namespace gantry::cli
