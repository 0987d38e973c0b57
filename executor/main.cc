// gantry-executor: the long-lived daemon.
#include <glog/logging.h>

#include <csignal>
#include <cstdio>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>

#include "base/failpoint.h"
#include "executor/claims.h"
#include "executor/config.h"
#include "executor/own_log.h"
#include "executor/process.h"
#include "executor/successor.h"
#include "executor/version.h"
#include "executor/wiring.h"

namespace gantry {
namespace {
Result<std::unique_ptr<OwnLog>> start_logging(const Config& config) {
  // What glog itself would write is left to OwnLog; but the words of a failed CHECK go to stderr.
  FLAGS_stderrthreshold = google::FATAL;
  for (auto severity : {google::INFO, google::WARNING, google::ERROR, google::FATAL}) {
    google::SetLogDestination(severity, "");
  }
  google::InitGoogleLogging("gantry-executor");
  auto log = GANTRY_TRY(
      OwnLog::open({.file = config.log_file, .limits = GANTRY_TRY(own_file_limits(config))}));
  // Who started it on demand reads stderr until it serves, to say why it does not.
  log->copy_to_stderr(config.on_demand);
  return log;
}

// Says what the log has counted, when its time is over. While nothing is counted no timer runs.
class RepeatTimer : public std::enable_shared_from_this<RepeatTimer> {
 public:
  RepeatTimer(OwnLog& log, const asio::any_io_executor& executor) : log_(log), timer_(executor) {}
  void start() {
    log_.on_counted([self = weak_from_this(), executor = timer_.get_executor()] {
      asio::post(executor, [self] {
        if (auto timer = self.lock()) timer->arm();
      });
    });
  }
  void stop() {
    log_.on_counted({});
    timer_.cancel();
    log_.say_repeated(OwnLog::Which::all);
  }

 private:
  void arm() {
    if (std::exchange(is_armed_, true)) return;
    timer_.expires_after(std::chrono::nanoseconds(OwnLog::kWindowNs));
    timer_.async_wait([self = weak_from_this()](boost::system::error_code code) {
      const auto timer = self.lock();
      if (code || !timer) return;
      timer->is_armed_ = false;
      if (timer->log_.say_repeated(OwnLog::Which::due)) timer->arm();
    });
  }

  OwnLog& log_;
  asio::steady_timer timer_;
  bool is_armed_ = false;
};

void reload_at(asio::signal_set& hangups, Wiring& wiring) {
  hangups.async_wait([&hangups, &wiring](boost::system::error_code e, int) {
    if (e) return;
    wiring.reload();
    reload_at(hangups, wiring);
  });
}

struct Ending {
  int code = 1;
  std::string successor;  // the program to become; empty: none
  Handed handed;
};

// SIGTERM and SIGINT end the daemon; containers go on. SIGHUP: certificate and token are new.
Co<Daemon::End> wait_end(Wiring& wiring) {
  Daemon& daemon = wiring.daemon();
  asio::signal_set hangups(co_await asio::this_coro::executor, SIGHUP);
  reload_at(hangups, wiring);
  asio::signal_set signals(co_await asio::this_coro::executor, SIGTERM, SIGINT);
  signals.async_wait([&daemon](boost::system::error_code e, int) {
    if (!e) daemon.ask_end(Daemon::End::signalled);
  });
  co_return co_await daemon.wait_end();
}

// Asio throws where the kernel has no descriptor or memory for its own: the next executor finds
// everything as a killed one leaves it.
[[noreturn]] void end_without_resources(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
    // lint: allow throw, because Asio's constructors do
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gantry-executor: %s\n", e.what());
  }
  std::_Exit(1);
}

Co<Ending> serve_wired(const Config& config, OwnLog& log, int lock, Wiring& wiring, Handed handed) {
  Result<void> started = co_await wiring.start(std::move(handed));
  if (!started) {
    LOG(ERROR) << started.error().to_string();
    co_await wiring.stop(Wiring::Leave::found);
    co_return Ending();
  }
  LOG(INFO) << "serving " << config.socket;
  log.copy_to_stderr(false);
  const auto repeats = std::make_shared<RepeatTimer>(log, co_await asio::this_coro::executor);
  repeats->start();
  std::optional<Announcement> announcement(std::in_place, lock, config.socket);
  Daemon& daemon = wiring.daemon();
  const Daemon::End end = co_await wait_end(wiring);
  announcement.reset();
  repeats->stop();
  switch (end) {
    case Daemon::End::upgraded: {
      LOG(INFO) << "becoming " << daemon.successor() << "; containers go on";
      std::string successor = daemon.successor();
      Handed sockets = co_await wiring.stop(Wiring::Leave::sockets);
      co_return Ending{0, std::move(successor), std::move(sockets)};
    }
    case Daemon::End::signalled:
      LOG(INFO) << "ending; containers go on";
      co_await wiring.stop(Wiring::Leave::containers);
      break;
    default:
      LOG(INFO) << "ending; nothing runs";
      co_await wiring.stop(Wiring::Leave::nothing);
      break;
  }
  co_return Ending{0, {}, {}};
}

Co<Ending> serve(const Config& config, OwnLog& log, int lock, StartedAs started_as, Handed handed) {
  auto executor = co_await asio::this_coro::executor;
  auto wiring = Wiring::build(config, std::move(started_as), executor);
  if (!wiring) {
    LOG(ERROR) << wiring.error().to_string();
    co_return Ending();
  }
  try {
    co_return co_await serve_wired(config, log, lock, **wiring, std::move(handed));
    // lint: allow throw, because Asio's constructors do; here all that others wait for still lives
  } catch (...) {
    end_without_resources(std::current_exception());
  }
}

Result<UniqueFd> take_runtime_dir(const std::string& path, int patience) {
  for (int attempt = 0;; ++attempt) {
    GANTRY_TRY(make_runtime_dir(path));
    auto lock = lock_runtime_dir(path, patience);
    bool gone = !lock && (lock.error().is(Errc::not_found) || lock.error().is_errno(ENOENT));
    if (!gone || attempt == 20) return lock;
  }
}

Result<UniqueFd> claim_host(const Config& config) {
  GANTRY_TRY(check_cgroup_root(config.cgroup_root, config.runtime_dir));
  return claim_data_dir(config.data_dir, config.runtime_dir);
}

// One lives on in the runtime directory, whose containers a later executor adopts.
bool has_launcher(const Config& config) {
  return ::access((config.runtime_dir + "/launcher.sock").c_str(), F_OK) == 0;
}

Result<int> run(const Config& config, const StartedAs& started_as, Handed handed) {
  GANTRY_TRY(failpoint::arm(config.failpoints));
  if (!config.here) GANTRY_TRY(require_host_namespaces());
  GANTRY_TRY(normalise_process());
  GANTRY_TRY(make_data_dir(config.data_dir));
  const std::unique_ptr<OwnLog> log = GANTRY_TRY(start_logging(config).context("--log-file"));
  // A client that starts one looks for another itself; one that waited here could begin to serve
  // after everybody has left.
  UniqueFd lock = std::move(handed.lock);
  if (!lock) {
    lock = GANTRY_TRY(take_runtime_dir(config.runtime_dir, config.on_demand ? 0 : 10));
    // A dead executor that hangs in the kernel may listen on, and never answer.
    if (!handed.socket) ::unlink(config.socket.c_str());
  }
  auto give_up = [&](Error error) {
    if (!has_launcher(config)) remove_runtime_dir(config.runtime_dir);
    return error;
  };
  auto claim = claim_host(config);
  if (!claim) return give_up(std::move(claim).error());
  Ending ending;
  {
    asio::io_context loop(1);
    if (auto wakes = check_loop(loop); !wakes) return give_up(std::move(wakes).error());
    asio::co_spawn(loop, serve(config, *log, lock.get(), started_as, std::move(handed)),
                   [&](std::exception_ptr e, Ending end) {
                     if (e) end_without_resources(std::move(e));
                     ending = std::move(end);
                   });
    try {
      loop.run();
      // lint: allow throw, because what other coroutines throw comes out here, and all is alive yet
    } catch (...) {
      end_without_resources(std::current_exception());
    }
  }
  if (!ending.successor.empty()) {
    ending.handed.lock = std::move(lock);
    return become_successor(ending.successor, started_as, std::move(ending.handed));
  }
  if (ending.code == 0 || !has_launcher(config)) remove_runtime_dir(config.runtime_dir);
  return ending.code;
}
}  // namespace
}  // namespace gantry

int main(int argc, char** argv) try {
  // ORDER: before anything opens a descriptor or empties the environment.
  const gantry::StartedAs started_as = gantry::started_as(argc, argv);
  gantry::Handed handed = gantry::take_handed();
  gantry::Config config;
  auto answer = gantry::read_config(argc, argv, config);
  if (answer && *answer == gantry::ConfigAnswer::printed) return 0;
  gantry::Result<int> code =
      answer ? gantry::run(config, started_as, std::move(handed)) : std::move(answer).error();
  if (code) return *code;
  std::fprintf(stderr, "gantry-executor: %s\n", code.error().to_string().c_str());
  if (!answer) return gantry::kWrongSettings;
  return code.error().is(gantry::Errc::conflict) ? gantry::kAnotherServes : 1;
} catch (...) {  // lint: allow throw, because Asio's constructors do
  gantry::end_without_resources(std::current_exception());
}
