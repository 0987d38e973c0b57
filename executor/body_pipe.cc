#include "executor/body_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace gantry {
namespace {
constexpr int kPipeBytes = 1 << 20;
}  // namespace

Result<sys::Pipe> open_transfer_pipe(OwnEnd own_end) {
  sys::Pipe pipe = GANTRY_TRY(sys::pipe());
  const int own = own_end == OwnEnd::read ? pipe.read.get() : pipe.write.get();
  ::fcntl(own, F_SETFL, O_NONBLOCK);
  ::fcntl(own, F_SETPIPE_SZ, kPipeBytes);  // fewer turns; the default will do as well
  return pipe;
}

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
