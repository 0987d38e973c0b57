#include "executor/piped_work.h"

#include <unistd.h>

#include <cerrno>

namespace gantry {
namespace {
constexpr size_t kPiece = 256u << 10;
}  // namespace

Co<Result<std::string>> PipedWork::next() {
  std::string bytes(kPiece, '\0');
  for (;;) {
    const ssize_t n = ::read(pipe_.get(), bytes.data(), bytes.size());
    if (n > 0) {
      bytes.resize(static_cast<size_t>(n));
      co_return bytes;
    }
    if (n == 0) break;
    if (errno != EAGAIN && errno != EINTR) co_return Error::from_errno(errno, "read the tar");
    GANTRY_CO_TRY(co_await wait_fd(pipe_.get(), Readiness::read));
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
  }
  while (!work_.result) {
    co_await work_.done.wait();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the client is gone");
  }
  left_out_ = GANTRY_CO_TRY(std::move(*work_.result));
  co_return std::string();
}

Co<Result<void>> PipedWork::close() {
  pipe_.reset();
  co_await scope_.close();
  co_return Result<void>();
}
}  // namespace gantry
