// The index of output times in a sandbox, as a tenant may have written it: whatever it says, each
// answer lies within the output, and reading on by it comes to an end.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "base/sys.h"
#include "executor/output_times.h"
#include "launcher/log_times.h"
#include "tests/fuzz/scratch.h"

namespace {
using namespace gantry;
constexpr uint64_t kSize = 4096;  // of both outputs

void read_all(OutputTimes& times) {
  uint64_t at[2] = {};
  while (at[0] < kSize && at[1] < kSize) {
    const int which = times.older(at[0], at[1]);
    const uint64_t length = times.length_before(which, at[which], at[1 - which]);
    if (length == 0) __builtin_trap();
    at[which] += std::min(length, kSize - at[which]);
    times.forget(which, at[which]);
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch scratch(kTimesFile);
  auto dir = DirFd::open(scratch.path());
  if (!dir) std::abort();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  UniqueFd file(::openat(dir->get(), kTimesFile, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  if (!file || !sys::write_all(file.get(), bytes)) std::abort();
  OutputTimes times;
  if (!times.refresh(*dir)) return 0;
  for (int stream : {0, 1}) {
    if (times.offset_at(stream, 0, kSize) > kSize) __builtin_trap();
    if (times.span_at(stream, 7).end <= 7) __builtin_trap();
  }
  read_all(times);
  return 0;
}
