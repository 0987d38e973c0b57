#include "checkpoint/criu_checkpointer.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>

#include "base/sys.h"
#include "checkpoint/criu_operation.h"
#include "checkpoint/image_set.h"

namespace gantry {
namespace {
constexpr auto kDyingLimit = std::chrono::milliseconds(300);
constexpr const char* kDirectories[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                        "/usr/bin",        "/sbin",          "/bin"};

bool is_program(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

// Whether an unfinished dump is whole, and its container ended by it.
Co<bool> is_all_there_is(std::string unfinished) {
  Result<criu::Checkpoint> record =
      co_await offload([unfinished] { return read_checkpoint(unfinished); });
  if (!record || !record->has_process()) co_return false;
  const criu::RecordedProcess& was = record->process();
  Result<ProcessRef> process = ProcessRef::open({was.pid(), was.start_time(), was.boot_id()});
  if (!process) co_return true;
  // CRIU may have killed it just now.
  Result<void> ended = co_await wait_fd(process->pidfd(), Readiness::read, kDyingLimit);
  co_return ended.has_value();
}
}  // namespace

namespace {
// Of "6.18.5-arch" or "4.1.1".
int release_number(const char* version) {
  int major = 0, minor = 0;
  std::sscanf(version, "%d.%d", &major, &minor);
  return major * 1000 + minor;
}
}  // namespace

// KERNEL: from 6.16 on only unix sockets have SO_PASSCRED and SO_PASSSEC, which CRIU before 4.2
// asks of all (its issue 2829).
bool saves_inet_sockets(const std::string& criu_version) {
  utsname name{};
  ::uname(&name);
  return release_number(name.release) < 6016 || release_number(criu_version.c_str()) >= 4002;
}

Result<std::string> find_criu(const std::string& configured) {
  if (!configured.empty()) {
    if (is_program(configured)) return configured;
    return Error(Errc::unsupported,
                 cat("criu: ", configured, " is no program; correct --criu, or run tools/setup"));
  }
  for (const char* directory : kDirectories) {
    std::string path = cat(directory, "/criu");
    if (is_program(path)) return path;
  }
  return Error(Errc::unsupported,
               "checkpoint and restore need the program criu, which is not installed; run "
               "tools/setup, or name one with --criu");
}

CriuCheckpointer::CriuCheckpointer(LaunchBackend& backend, CriuSettings settings)
    : backend_(backend),
      program_(std::move(settings.program)),
      tar_(std::move(settings.tar)),
      probe_(std::move(settings.probe)) {}

Co<Result<CheckpointStats>> CriuCheckpointer::dump(CheckpointRequest request) {
  std::string id = request.id.to_string();
  std::string program = GANTRY_CO_TRY(find_criu(program_));
  co_return (co_await run_dump({backend_, probe_, tar_}, std::move(program), std::move(request)))
      .context("checkpoint ", id);
}

Co<Result<RestoredProcess>> CriuCheckpointer::restore(RestoreRequest request) {
  std::string id = request.id.to_string();
  std::string program = GANTRY_CO_TRY(find_criu(program_));
  co_return (co_await run_restore({backend_, probe_, tar_}, std::move(program), std::move(request)))
      .context("restore ", id);
}

Co<Result<CheckpointSummary>> CriuCheckpointer::read(std::string directory) {
  co_return co_await offload([directory = std::move(directory)]() -> Result<CheckpointSummary> {
    criu::Checkpoint record = GANTRY_TRY(read_checkpoint(directory));
    return CheckpointSummary{record.container_id(), record.identity(), record.created_ns(),
                             record.criu_version(), image_bytes(record)};
  });
}

Co<Result<void>> CriuCheckpointer::remove(std::string directory) {
  co_return co_await offload(
      [directory = std::move(directory)] { return remove_checkpoint_directory(directory); });
}

Co<Result<void>> CriuCheckpointer::recover(std::string directory) {
  size_t slash = directory.rfind('/') + 1;
  std::optional<std::string> name = finished_name(std::string_view(directory).substr(slash));
  if (!name) co_return Result<void>();
  const bool finish = co_await is_all_there_is(directory);
  std::string finished = cat(directory.substr(0, slash), *name);
  co_return co_await offload([finish, directory, finished]() -> Result<void> {
    if (finish && finish_checkpoint(directory, finished)) return {};
    return remove_checkpoint_directory(directory);
  });
}

Co<Result<std::string>> CriuCheckpointer::check() {
  std::string program = GANTRY_CO_TRY(find_criu(program_));
  auto criu = GANTRY_CO_TRY(co_await CriuProcess::start(
      {backend_, probe_, tar_}, std::move(program), {}, LaunchPlan::Builder(), {}));
  co_await criu->close();
  co_return criu->version();
}
}  // namespace gantry
