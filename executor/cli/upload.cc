#include "executor/cli/upload.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

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
  progress_.add(bytes.size());
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

Result<HttpResponse> Upload::finish(Result<void> sent) {
  if (sent) sent = connection_.send_chunk({});
  progress_.clear();
  if (!sent && !sent.error().is(Errc::cancelled)) return std::move(sent).error();
  return connection_.receive();
}
}  // namespace gantry::cli
