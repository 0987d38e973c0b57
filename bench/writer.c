// Writes to stdout as fast as it can, in pieces of 64 KiB.
//   writer BYTES
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[64 << 10];

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  long left = atol(argv[1]);
  memset(buffer, 'x', sizeof(buffer));
  for (size_t i = 63; i < sizeof(buffer); i += 64) buffer[i] = '\n';
  while (left > 0) {
    const size_t piece = left < (long)sizeof(buffer) ? (size_t)left : sizeof(buffer);
    const ssize_t n = write(STDOUT_FILENO, buffer, piece);
    if (n < 0 && errno != EINTR) return 1;
    if (n > 0) left -= n;
  }
  return 0;
}
