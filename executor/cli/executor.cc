// gantry executor, gantry executor stop, gantry executor upgrade
#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <iterator>
#include <memory>
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

// A launcher is the parent of its containers: it and they go on when their executor dies.
bool has_launcher(const Location& location) {
  const std::string sockets = sys::read_file("/proc/net/unix").value_or(std::string());
  // KERNEL: a socket keeps the name it was bound to (".PID" follows), wherever it was moved.
  return sockets.find(cat(" ", location.runtime_dir, "/launcher.sock")) != sockets.npos;
}

size_t count_records(const Location& location) {
  const std::string path = cat(location.runtime_dir, "/containers");
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  size_t count = 0;
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    count += entry->d_name[0] != '.' ? 1 : 0;
  }
  return count;
}

Error explain_absent(const Error& error, const Location& location) {
  if (!error.is(Errc::not_found) || !has_launcher(location)) return error;
  const size_t count = count_records(location);
  return {Errc::not_found,
          cat(error.to_string(), ", but the launcher of one that died runs on",
              count == 0 ? std::string()
                         : cat(", and has ", count, count == 1 ? " container" : " containers"),
              ".\n  `gantry ps -a` starts an executor that takes them over; then: gantry executor "
              "stop")};
}

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
    GANTRY_TRY(session.need_local("gantry executor"));
    if (!words.empty() && words[0] == "stop") {
      GANTRY_TRY(want_arguments(words, 1, 1, "stop"));
      return stop(session);
    }
    if (!words.empty() && words[0] == "upgrade") {
      GANTRY_TRY(want_arguments(words, 1, 2, "upgrade [PROGRAM]"));
      return upgrade(session, words.size() > 1 ? words[1] : sibling_program("gantry-executor"));
    }
    for (const std::string& word : words) GANTRY_TRY(check_passed_on(word));
    GANTRY_TRY(check_numbers());
    return become_executor(session, words);
  }

 private:
  // A word that is not ours, and so is to be gantry-executor's.
  Result<void> check_passed_on(const std::string& word) const {
    static constexpr std::string_view kPassedOn[] = {"--on-demand", "--check-configuration",
                                                     "--list-failpoints", "--version"};
    if (std::ranges::find(kPassedOn, word) != std::end(kPassedOn)) return {};
    if (!word.starts_with('-')) {
      const std::string_view meant = nearest(word, {"stop", "upgrade"});
      return usage_error(cat("\"", word, "\" is not a command of `gantry executor`",
                             meant.empty()
                                 ? std::string(": those are stop and upgrade")
                                 : cat("; did you mean \"gantry executor ", meant, "\"?")));
    }
    std::vector<std::string_view> names;
    for (const auto& [flag, value] : settings_) names.push_back(flag);
    const std::string_view name = std::string_view(word).substr(0, word.find('='));
    const std::string_view meant =
        nearest(name.substr(std::min(name.find_first_not_of('-'), name.size())), names);
    return usage_error(cat("unknown flag ", name,
                           meant.empty() ? std::string() : cat(" (did you mean --", meant, "?)")));
  }

  Result<void> check_numbers() const {
    for (const auto& [flag, value] : settings_) {
      const auto* const setting = std::ranges::find(kNumberSettings, flag, &NumberSetting::flag);
      if (!value || setting == std::end(kNumberSettings)) continue;
      int number = 0;
      if (!parse_number(*value, number) || number < setting->least || number > setting->most) {
        return usage_error(cat("--", flag, " is a whole number from ", setting->least, " to ",
                               setting->most, ", not \"", *value, "\""));
      }
    }
    return {};
  }

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
    if (::geteuid() != 0) {
      return Error(Errc::refused,
                   "the executor makes containers, which only root can: sudo gantry executor");
    }
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
    Result<Connection> running = session.connect_to_running();
    if (!running) return explain_absent(running.error(), session.location());
    Connection connection = std::move(*running);
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
    Result<Connection> running = session.connect_to_running();
    if (!running) return explain_absent(running.error(), session.location());
    Connection connection = std::move(*running);
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
    // Killed before it had heard us.
    const Result<Connection> now = session.connect_to_running();
    if (!response && !now && has_launcher(session.location())) {
      return explain_absent(now.error(), session.location());
    }
    write_out(session.json() ? "{\"stopped\":true}\n" : "stopped\n");
    return 0;
  }

  std::deque<std::pair<std::string_view, std::optional<std::string>>> settings_;
};
}  // namespace

std::unique_ptr<Command> make_executor() { return make_command<Executor>(); }
}  // namespace gantry::cli
