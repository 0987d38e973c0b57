#include "executor/cli/progress.h"

#include <unistd.h>

#include "base/sys.h"
#include "executor/cli/print.h"

namespace gantry::cli {
void Progress::add(uint64_t bytes) {
  bytes_ += bytes;
  const int64_t now = sys::monotonic_ns();
  if (is_quiet_ || ::isatty(STDERR_FILENO) == 0 || now - shown_at_ < 100'000'000) return;
  shown_at_ = now;
  sys::write_all(STDERR_FILENO, cat("\r", doing_, ": ", format_bytes(static_cast<double>(bytes_)),
                                    " ", done_, "\033[K"))
      .ignore("only decoration");
}

void Progress::clear() const {
  if (shown_at_ != 0) sys::write_all(STDERR_FILENO, "\r\033[K").ignore("only decoration");
}
}  // namespace gantry::cli
