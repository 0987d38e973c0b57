// gantry-logger, started by gantry-launcher: descriptor 3 is its socket to the launcher, 4 the
// listening RUNTIME/logger.sock.
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/logger/logger.h"

int main() {
  umask(0027);
  prctl(PR_SET_NAME, "gantry-logger");
  for (int fd = 3; fd <= 4; ++fd) {
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
      fprintf(stderr, "gantry-logger is started by gantry-launcher only\n");
      return 2;
    }
  }
  static gantry::logger::Logger logger;
  if (const char* wrong = logger.open(3, 4)) {
    perror(wrong);
    return 1;
  }
  return logger.serve();
}
