#include "executor/body_pipe.h"

#include <unistd.h>

#include <cerrno>

namespace gantry {
Co<Result<void>> pump_body(http::BodyStream& body, UniqueFd pipe) {
  for (;;) {
    std::string_view bytes = GANTRY_CO_TRY(co_await body.read());
    if (bytes.empty()) co_return Result<void>();
    while (!bytes.empty()) {
      ssize_t n = ::write(pipe.get(), bytes.data(), bytes.size());
      if (n > 0) {
        bytes.remove_prefix(static_cast<size_t>(n));
      } else if (errno == EAGAIN) {
        GANTRY_CO_TRY(co_await wait_fd(pipe.get(), Readiness::write));
      } else if (errno == EPIPE) {
        co_return Result<void>();  // the importer says why
      } else if (errno != EINTR) {
        co_return Error::from_errno(errno, "pass the archive on");
      }
    }
  }
}
}  // namespace gantry
