#include "executor/cli/upload.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "executor/cli/print.h"

namespace gantry::cli {
HttpRequest tar_request(std::string call) {
  return {"/api/v1",
          {{"Content-Type", "application/x-tar"},
           {"Accept", "application/json"},
           {"Gantry-Call", std::move(call)}},
          {}};
}

Result<void> Upload::send(std::string_view bytes) {
  if (bytes.empty()) return {};
  pollfd answer = {connection_.fd(), POLLIN, 0};
  if (::poll(&answer, 1, 0) > 0) return Error(Errc::cancelled, "answered early");
  GANTRY_TRY(connection_.send_chunk(bytes));
  sent_ += bytes.size();
  show_progress();
  return {};
}

Result<void> Upload::send_file(int fd) {
  std::string bytes(256u << 10, '\0');
  for (;;) {
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read the archive");
    if (n == 0) return {};
    GANTRY_TRY(send({bytes.data(), static_cast<size_t>(n)}));
  }
}

void Upload::clear_progress() {
  if (shown_at_ != 0) sys::write_all(STDERR_FILENO, "\r\033[K").ignore("only decoration");
}

void Upload::show_progress() {
  const int64_t now = sys::monotonic_ns();
  if (is_quiet_ || ::isatty(STDERR_FILENO) == 0 || now - shown_at_ < 100'000'000) return;
  shown_at_ = now;
  sys::write_all(STDERR_FILENO,
                 cat("\r", doing_, ": ", format_bytes(static_cast<double>(sent_)), " sent\033[K"))
      .ignore("only decoration");
}
}  // namespace gantry::cli
