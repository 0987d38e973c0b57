#include "checkpoint/criu_operation.h"

#include <unistd.h>

#include "base/sys.h"
#include "checkpoint/criu_log.h"

namespace gantry {
namespace {
constexpr int kMinimum = 4 * 10000 + 1 * 100 + 1;
constexpr char kMinimumText[] = "4.1.1";
constexpr auto kAnswerLimit = std::chrono::seconds(10);

std::string version_text(const criu::Version& version) {
  std::string out = cat(version.major_number(), ".", version.minor_number());
  if (version.sublevel() != 0) out += cat(".", version.sublevel());
  return out;
}

int version_number(const criu::Version& version) {
  return version.major_number() * 10000 + version.minor_number() * 100 + version.sublevel();
}

// A key of the launcher's table for CRIU's own process.
std::string helper_key(CriuProcess::IfWeDie if_we_die) {
  const bool is_held = if_we_die == CriuProcess::IfWeDie::wait;
  return cat(is_held ? kHeldHelperKey : kHelperKey, sys::random_hex(12));
}
}  // namespace

Result<std::vector<MountEntry>> mounts_of(pid_t pid) {
  std::string text = GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/mountinfo"), 64u << 20));
  return parse_mountinfo(text);
}

Result<std::set<std::string>> host_devices() {
  std::set<std::string> out;
  for (MountEntry& mount : GANTRY_TRY(mounts_of(::getpid()))) out.insert(std::move(mount.device));
  return out;
}

Co<Result<std::unique_ptr<CriuProcess>>> CriuProcess::start(CriuHost host, std::string program,
                                                            const std::vector<std::string>& paths,
                                                            LaunchPlan::Builder plan,
                                                            CriuSession::Inherited inherited,
                                                            IfWeDie if_we_die) {
  Workspace workspace = GANTRY_CO_TRY(Workspace::make());
  std::unique_ptr<CriuProcess> self(
      new CriuProcess(host, std::move(program), std::move(workspace)));
  std::vector<std::string> kept = paths;
  kept.push_back(self->program_);
  CriuSession::Settings settings{.program = self->program_,
                                 .key = helper_key(if_we_die),
                                 .outwaits_us = if_we_die == IfWeDie::wait};
  if (GANTRY_CO_TRY(self->workspace_.become_run(plan, kept))) {
    host.probe.give(self->workspace_, self->program_);
    if (host.tar) {
      GANTRY_CO_TRY(self->workspace_.add_program(host.tar, "tar"));
      settings.path = cat("/run:", settings.path);
    }
  }
  self->session_ = GANTRY_CO_TRY(co_await CriuSession::start(
      host.backend, std::move(settings), std::move(plan), std::move(inherited)));
  Result<void> recent = co_await self->ask_version();
  if (!recent) {
    co_await self->close();
    co_return std::move(recent).error();
  }
  co_return self;
}

Co<Result<void>> CriuProcess::ask_version() {
  criu::Request request;
  request.set_type(criu::VERSION);
  request.set_keep_open(true);
  auto no_notice = [](CriuSession::Notice) -> Co<Result<void>> { co_return Result<void>(); };
  criu::Answer answer =
      GANTRY_CO_TRY((co_await session_->call(std::move(request), no_notice,
                                             std::chrono::steady_clock::now() + kAnswerLimit))
                        .context(program_,
                                 " does not work as criu; run tools/setup, or name "
                                 "another with --criu"));
  version_ = version_text(answer.version());
  if (version_number(answer.version()) < kMinimum) {
    co_return Error(Errc::unsupported,
                    cat(program_, " is version ", version_, "; ", kMinimumText,
                        " is the oldest that works: run tools/setup, or name another with --criu"));
  }
  co_return Result<void>();
}

Error CriuProcess::with_reason(Error error, const char* log_name) const {
  Result<std::string> log = workspace_.read(log_name);
  // Without a log CRIU did not get as far as having a reason.
  if (!log || criu_log_tail(*log, 1).empty()) return error;
  return Error(error.code(), cat(explain_criu_log(*log), "; ", error.to_string()));
}

Co<void> CriuProcess::close(Duration limit) {
  (co_await uncancellable(session_->close(limit))).ignore("its answer is what counts");
  host_.probe.take(workspace_, program_);
}
}  // namespace gantry
