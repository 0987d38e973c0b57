// RemoteLauncher: the LaunchBackend that talks to the long-lived gantry-launcher of a node.
//
// Role: the executor's end of RUNTIME/launcher.sock and its view of the launcher's table. Lifetime:
// the executor's. Threads: loop only. Failure: a launcher that dies is noticed by end-of-file; a
// new one is started at once and takes the table over. Exits in between are read from pidfds kept
// here (PIDFD_GET_INFO, Linux >= 6.15), else they are lost. Recovery: start_or_connect() finds a
// living launcher, recover() reads its table. Upgrade: a launcher of another build becomes ours in
// place, before the first launch.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "base/scope.h"
#include "launcher/ask_channel.h"
#include "launcher/launch_backend.h"
#include "launcher/start_launcher.h"

namespace gantry {
class RemoteLauncher final : public LaunchBackend {
 public:
  struct Config {
    std::string runtime_dir;      // absolute; exists
    std::string launcher_binary;  // paths of the static programs, read once
    std::string logger_binary;
    std::string cgroup_root = "/gantry";
  };
  explicit RemoteLauncher(asio::any_io_executor executor);
  ~RemoteLauncher() override;

  // Connects to the runtime directory's launcher, starting it where none lives, and making it ours
  // where it was started by another build.
  Co<Result<void>> start_or_connect(Config config);
  // Ends launcher and logger and removes their cgroups. Errc::busy while containers run.
  Co<Result<void>> shutdown();
  // The same for a launcher that was started here and knows of no child; else nothing.
  Co<Result<void>> shutdown_if_unused();
  // Leaves the launcher running and ends this end of the connection. Last call before destruction.
  Co<void> close();

  Co<Result<LaunchedChild>> launch(std::string key, LaunchPlan& plan, LaunchIo io) override;
  Co<Result<void>> give_terminal(std::string key, UniqueFd master) override;
  Co<Result<void>> assign(std::string from, std::string to, LaunchIo io) override;
  Co<Result<ExitRecord>> wait_exit(std::string key,
                                   std::optional<Duration> limit = std::nullopt) override;
  Co<Result<void>> forget(std::string key) override;
  Co<Result<UniqueFd>> open_stdin(std::string key) override;
  Co<Result<void>> close_stdin(std::string key) override;
  Co<Result<ProcessRef>> adopt(std::string key, pid_t pid, Adoptee what, LaunchIo io) override;
  Co<Result<std::vector<KnownChild>>> recover() override;

  uint64_t generation() const override;

  pid_t launcher_pid() const { return launcher_pid_; }
  // Why the launcher in use was started by another build and stays that; empty: it is ours.
  const std::string& upgrade_refused() const { return upgrade_refused_; }

 private:
  struct Child;       // what is known of a key here
  struct Connection;  // one launcher's channel and table

  Co<Result<void>> start_or_connect_again();
  Co<Result<void>> connect();
  Co<Result<void>> greet(Connection& connection);
  Co<Result<void>> upgrade(Connection& connection);
  Co<void> serve(std::shared_ptr<Connection> connection);
  Co<void> reconnect();
  Co<Result<std::shared_ptr<Connection>>> connected();
  Co<Result<Answered>> ask_whoever_lives(Request request, std::vector<int> fds);
  Co<Result<Answered>> ask(MessageType type, std::string key, std::string what);
  Co<Result<ExitRecord>> exit_of_lost(std::string key);
  void take_push(const Answer& pushed);
  void note_exits();
  // The child of an answered launch or adoption is known here from now on.
  Result<ProcessRef> note_child(const std::string& key, Answered answered);
  const Slot* find_slot(const std::string& key);

  asio::any_io_executor executor_;
  Config config_;
  LauncherPrograms programs_;
  Scope scope_;
  Event connected_;
  std::shared_ptr<Connection> connection_;
  std::unordered_map<std::string, Child> children_;
  pid_t launcher_pid_ = 0;
  std::string upgrade_refused_;
  uint64_t generation_ = 0;  // counts the connections
  bool is_own_ = false;      // the launcher was started here, not found
  bool closing_ = false;
};
}  // namespace gantry
