#include "launcher/process/proc_stat.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

namespace gantry::launcher {
namespace {
uint64_t number_at(const char* text) {
  uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text)
    value = value * 10 + static_cast<uint64_t>(*text - '0');
  return value;
}

int open_stat(int pid) {
  char path[32] = "/proc/";
  char digits[12];
  int n = 0;
  for (unsigned left = static_cast<unsigned>(pid); left != 0; left /= 10) {
    digits[n++] = static_cast<char>('0' + left % 10);
  }
  char* at = path + 6;
  while (n > 0) *at++ = digits[--n];
  strcpy(at, "/stat");
  return open(path, O_RDONLY | O_CLOEXEC);
}
}  // namespace

bool read_proc_stat(int pid, ProcStat* out) {
  const int fd = open_stat(pid);
  if (fd < 0) return false;
  char text[1024];
  const ssize_t bytes = read(fd, text, sizeof text - 1);
  close(fd);
  if (bytes <= 0) return false;
  text[bytes] = '\0';
  const char* field = strrchr(text, ')');
  for (int i = 2; field != nullptr && i < 22; ++i) {
    field = strchr(field + 1, ' ');
    if (i == 8 && field != nullptr) out->flags = number_at(field + 1);
  }
  if (field == nullptr) return false;
  out->start_time = number_at(field + 1);
  return true;
}
}  // namespace gantry::launcher
