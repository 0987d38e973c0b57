#include "executor/cli/download.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/print.h"
#include "executor/cli/progress.h"

namespace gantry::cli {
namespace {
// What a link at that place leads to: it is not to be replaced itself.
std::string real_path(const std::string& path) {
  char* const found = ::realpath(path.c_str(), nullptr);
  if (found == nullptr) return path;
  std::string out = found;
  ::free(found);
  return out;
}
}  // namespace

Error and_then(const Error& error, std::string_view what) {
  if (!error.is(Errc::cancelled)) return error;
  return {error.code(), cat(error.to_string(), "; ", what)};
}

Result<uint64_t> receive_tar(Session& session, const std::string& call,
                             const std::function<Result<void>(std::string_view)>& sink) {
  Connection connection = GANTRY_TRY(session.connect());
  GANTRY_TRY(connection.send(Connection::format(api_request(call))));
  const HttpHead head = GANTRY_TRY(connection.receive_head());
  if (head.status != 200) return refusal(GANTRY_TRY(connection.receive()), call);
  for (;;) {
    const std::string bytes = connection.take_body();
    if (!bytes.empty()) GANTRY_TRY(sink(bytes));
    if (connection.is_complete()) {
      uint64_t left_out = 0;
      parse_number(connection.head()->header("Gantry-Left-Out"), left_out);
      return left_out;
    }
    const Result<bool> fed = connection.feed();
    if (!fed || !*fed) {
      return Error(
          Errc::cancelled,
          "the copy broke off: what is copied was removed meanwhile, or the executor's log "
          "(`executor.log` in its data directory) says why");
    }
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      aside_(std::exchange(other.aside_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
  if (!aside_.empty()) ::unlink(aside_.c_str());
}

Result<OutputFile> OutputFile::open(const std::string& path) {
  // A reader of stdout that has gone ends us as it ends any command; one of a FILE is told of.
  if (!path.empty()) ::signal(SIGPIPE, SIG_IGN);
  if (path.empty()) {
    if (::isatty(STDOUT_FILENO) != 0) {
      return usage_error("a tar is nothing for a terminal: give -o FILE, or redirect stdout");
    }
    if (was_stdout_closed()) return Error(Errc::refused, "stdout is closed: give -o FILE");
    UniqueFd copy = GANTRY_TRY(sys::duplicate(STDOUT_FILENO).context("stdout"));
    return OutputFile("stdout", {}, std::move(copy));
  }
  struct ::stat status;
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return OutputFile(path, {}, GANTRY_TRY(sys::open(path, O_WRONLY)));
  }
  std::string target = real_path(path), aside = target + ".XXXXXX";
  UniqueFd file(::mkostemp(aside.data(), O_CLOEXEC));
  if (!file) return Error::from_errno(errno, cat("write ", path));
  return OutputFile(std::move(target), std::move(aside), std::move(file));
}

Result<void> OutputFile::write(std::string_view bytes) {
  return sys::write_all(file_.get(), bytes).context("write ", path_);
}

Result<void> OutputFile::commit() {
  if (aside_.empty()) return {};
  if (::rename(aside_.c_str(), path_.c_str()) != 0) {
    return Error::from_errno(errno, cat("write ", path_));
  }
  aside_.clear();
  return {};
}

Result<void> save_tar(Session& session, const std::string& call, const std::string& path,
                      std::string_view doing) {
  OutputFile file = GANTRY_TRY(OutputFile::open(path));
  Progress progress(doing, "received", path.empty());
  const Result<uint64_t> received = receive_tar(session, call, [&](std::string_view bytes) {
    progress.add(bytes.size());
    return file.write(bytes);
  });
  progress.clear();
  if (!received) {
    return and_then(received.error(), path.empty() ? "what is at stdout is not whole"
                                                   : "nothing was written to " + path);
  }
  return file.commit();
}
}  // namespace gantry::cli
