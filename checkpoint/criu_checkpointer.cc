#include "checkpoint/criu_checkpointer.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "api/types/container_id.h"
#include "base/sys.h"
#include "checkpoint/criu_log.h"
#include "checkpoint/criu_operation.h"
#include "checkpoint/image_set.h"

namespace gantry {
namespace {
constexpr const char* kDirectories[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                        "/usr/bin",        "/sbin",          "/bin"};
constexpr int kMinimum = 4 * 10000 + 1 * 100 + 1;  // 4.1.1

bool is_program(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

bool is_tmpfs(const std::string& path) {
  struct statfs fs;
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

std::string version_text(const criu::Version& version) {
  std::string out = cat(version.major_number(), ".", version.minor_number());
  if (version.sublevel() != 0) out += cat(".", version.sublevel());
  return out;
}
}  // namespace

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

std::string helper_key() { return sha256_hex(cat("criu ", sys::random_hex(16)), 24); }

CriuSession::Settings session_settings(const CriuSettings& settings, const std::string& program,
                                       const std::vector<std::string>& paths) {
  CriuSession::Settings out{program, helper_key(), settings.cache_dir};
  // The cache is bound over /run; a host whose /run is a tmpfs needs none.
  if (is_tmpfs("/run")) out.cache_dir.clear();
  for (const std::string& path : paths) {
    if (path.starts_with("/run/")) out.cache_dir.clear();
  }
  if (out.cache_dir.empty()) return out;
  Result<void> made = sys::ensure_directories(out.cache_dir, 0700);
  if (!made || !is_tmpfs(out.cache_dir)) out.cache_dir.clear();
  return out;
}

Error with_reason(Error error, const std::string& directory, const char* log_name) {
  Result<std::string> log = sys::read_file(cat(directory, "/work/", log_name), 64u << 20);
  // Without a log CRIU did not get as far as having a reason.
  if (!log || criu_log_tail(*log, 1).empty()) return error;
  return Error(error.code(), cat(explain_criu_log(*log), "; ", error.to_string()));
}

CriuCheckpointer::CriuCheckpointer(LaunchBackend& backend, CriuSettings settings)
    : backend_(backend), settings_(std::move(settings)) {}

Co<Result<CheckpointStats>> CriuCheckpointer::dump(CheckpointRequest request) {
  std::string id = request.id.to_string();
  co_return (co_await run_dump(backend_, settings_, std::move(request))).context("checkpoint ", id);
}

Co<Result<RestoredProcess>> CriuCheckpointer::restore(RestoreRequest request) {
  std::string id = request.id.to_string();
  co_return (co_await run_restore(backend_, settings_, std::move(request))).context("restore ", id);
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

Co<Result<std::string>> CriuCheckpointer::check() {
  std::string program = GANTRY_CO_TRY(find_criu(settings_.program));
  auto session = GANTRY_CO_TRY(co_await CriuSession::start(
      backend_, session_settings(settings_, program, {program}), LaunchPlan::Builder(), {}));
  criu::Request request;
  request.set_type(criu::VERSION);
  auto no_notice = [](CriuSession::Notice) -> Co<Result<void>> { co_return Result<void>(); };
  Result<criu::Answer> answer = co_await session->call(
      request, no_notice, std::chrono::steady_clock::now() + std::chrono::seconds(10));
  (co_await session->close()).ignore("its answer is what counts");
  GANTRY_CO_TRY(std::move(answer).context(program));
  const criu::Version& version = answer->version();
  const int number =
      version.major_number() * 10000 + version.minor_number() * 100 + version.sublevel();
  if (number < kMinimum) {
    co_return Error(Errc::unsupported, cat(program, " is version ", version_text(version),
                                           "; 4.1.1 is the oldest that works: run tools/setup"));
  }
  co_return version_text(version);
}
}  // namespace gantry
