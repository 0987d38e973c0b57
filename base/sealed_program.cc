#include "base/sealed_program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <string_view>

#include "base/sys.h"

namespace gantry {
namespace {
Result<size_t> size_of(int fd) {
  struct ::stat st;
  if (::fstat(fd, &st) != 0) return Error::from_errno(errno, "look at a program");
  return static_cast<size_t>(st.st_size);
}

Result<void> send_whole(int from, int to) {
  size_t rest = GANTRY_TRY(size_of(from));
  off_t at = 0;
  while (rest > 0) {
    const ssize_t n = ::sendfile(to, from, &at, rest);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "copy a program");
    if (n == 0) return Error(Errc::corrupt, "a program became shorter while it was read");
    rest -= static_cast<size_t>(n);
  }
  return {};
}
}  // namespace

Result<UniqueFd> seal_program(const std::string& path) {
  UniqueFd file = GANTRY_TRY(sys::open(path, O_RDONLY));
  UniqueFd out(::memfd_create(path.c_str() + path.rfind('/') + 1, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!out) return Error::from_errno(errno, "make a memfd");
  GANTRY_TRY(send_whole(file.get(), out.get()).context(path));
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(out.get(), F_ADD_SEALS, kSeals) != 0) {
    return Error::from_errno(errno, cat("seal a copy of ", path));
  }
  return out;
}

Result<std::string> build_of(const UniqueFd& program) {
  const size_t size = GANTRY_TRY(size_of(program.get()));
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, program.get(), 0);
  if (bytes == MAP_FAILED) return Error::from_errno(errno, "map a program");
  const size_t hash =
      std::hash<std::string_view>()(std::string_view(static_cast<const char*>(bytes), size));
  ::munmap(bytes, size);
  char digits[20];
  std::snprintf(digits, sizeof digits, "%016zx", hash);
  return std::string(digits);
}

Result<void> copy_program(const UniqueFd& program, int target) {
  return send_whole(program.get(), target);
}
}  // namespace gantry
