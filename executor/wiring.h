// The whole tree of objects, built by hand in one place (docs/adr/0007).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/co.h"
#include "executor/config.h"
#include "executor/daemon.h"

namespace gantry {
class Wiring {
 public:
  // Builds the rooms; nothing runs yet.
  static Result<std::unique_ptr<Wiring>> build(const Config& config, StartedAs started_as,
                                               asio::any_io_executor executor);
  ~Wiring();

  // Connects to (or starts) the launcher, recovers what an earlier executor left, and serves: on
  // the sockets of `handed` where those are the configured ones.
  Co<Result<void>> start(Handed handed);
  Daemon& daemon();
  // Reads the files of --listen-tls anew.
  void reload();
  // Stops serving and lets every container go on. With Leave::nothing (nothing lives any more) the
  // launcher and the logger end too, and what is shared is removed; with Leave::found (a start that
  // failed) those that start() began, where nothing is known to them. With Leave::sockets clients
  // may go on to connect, to the successor that gets them.
  enum class Leave { sockets, containers, found, nothing };
  Co<Handed> stop(Leave leave);

 private:
  struct Parts;
  explicit Wiring(std::unique_ptr<Parts> parts);
  Result<void> listen_on_tcp(Handed& handed);
  // A container's log takes nothing (an errno), or takes it again (0).
  void say_stall(std::string_view key, int error);
  std::unique_ptr<Parts> parts_;
};
}  // namespace gantry
