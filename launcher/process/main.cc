// gantry-launcher --runtime-dir DIR --cgroup-root ROOT --build NAME --logger-fd N
// Started by RemoteLauncher from a sealed memfd; the first process returns once the launcher
// listens (exit code 0), after printing what failed (1), or because one is alive already (3).
// With --handover-fd N it is the process of a launcher already, which became this program
// (upgrade.cc); with --can-take-over PROTOCOL alone it only says whether it could (0).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/process/startup.h"

namespace gantry::launcher {
namespace {
int complain(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return 1;
}

struct Arguments {
  Options options;
  int handover = -1;
  int can_take_over = -1;
};

bool parse(int argc, char** argv, Arguments* arguments) {
  Options* options = &arguments->options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--runtime-dir") == 0) {
      options->runtime_dir = argv[i + 1];
    } else if (strcmp(argv[i], "--cgroup-root") == 0) {
      options->cgroup_root = argv[i + 1];
    } else if (strcmp(argv[i], "--logger-fd") == 0) {
      options->logger_binary = atoi(argv[i + 1]);
    } else if (strcmp(argv[i], "--build") == 0) {
      options->build = argv[i + 1];
    } else if (strcmp(argv[i], "--handover-fd") == 0) {
      arguments->handover = atoi(argv[i + 1]);
    } else if (strcmp(argv[i], "--can-take-over") == 0) {
      arguments->can_take_over = atoi(argv[i + 1]);
    } else {
      return false;
    }
  }
  if (argc % 2 != 1) return false;
  return arguments->can_take_over >= 0 ||
         (options->runtime_dir != nullptr && options->logger_binary > 4);
}

// A record lock: not inherited by children, kept over exec, gone with the process or when any
// descriptor of the file is closed.
int lock_runtime(int runtime_dir, int* lock) {
  int fd = *lock =
      openat(runtime_dir, kLauncherLock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return complain("open launcher.lock");
  struct flock whole{};
  whole.l_type = F_WRLCK;
  if (fcntl(fd, F_SETLK, &whole) == 0) return 0;
  return errno == EAGAIN || errno == EACCES ? kExitAlreadyRunning : complain("lock launcher.lock");
}

// The launcher proper, in the second process. Writes one byte to `ready` once it listens.
int run(Options options, int ready) {
  int runtime_dir = open(options.runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (runtime_dir < 0) return complain(options.runtime_dir);
  if (int code = lock_runtime(runtime_dir, &options.lock)) return code;
  if (const char* wrong = enter_cgroups(options.cgroup_root)) return complain(wrong);
  // Large, and not on any stack: its address is the launcher's only static storage.
  static Launcher launcher(options);
  if (const char* wrong = launcher.open(runtime_dir)) return complain(wrong);
  close(runtime_dir);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return complain("/dev/null");
  for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
  close(null);
  if (write(ready, "", 1) != 1) return 1;
  close(ready);
  return launcher.serve();
}

// Nobody is left to complain to: what fails here ends the launcher, as a death does.
int go_on(const Options& options, int handover) {
  prctl(PR_SET_NAME, "gantry-launcher");  // KERNEL: execveat of a descriptor names it by number
  int runtime_dir = open(options.runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  static Launcher launcher(options);
  if (launcher.open_again(runtime_dir, handover) != nullptr) return 1;
  close(runtime_dir);
  return launcher.serve();
}

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, &arguments)) {
    fprintf(stderr,
            "usage: gantry-launcher --runtime-dir DIR --cgroup-root ROOT --build NAME "
            "--logger-fd N\n");
    return 2;
  }
  const Options& options = arguments.options;
  if (arguments.can_take_over >= 0) return arguments.can_take_over == kProtocolVersion ? 0 : 1;
  if (arguments.handover >= 0) return go_on(options, arguments.handover);
  if (const char* wrong = normalise(options.logger_binary)) return complain(wrong);
  fcntl(options.logger_binary, F_SETFD, FD_CLOEXEC);
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return complain("pipe");
  const pid_t pid = fork();
  if (pid < 0) return complain("fork");
  if (pid == 0) {
    close(ready[0]);
    setsid();
    exit(run(options, ready[1]));
  }
  close(ready[1]);
  char byte;
  if (read(ready[0], &byte, 1) == 1) return 0;
  // It ended before it listened: its exit code is ours, its message is on stderr.
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 1;
  return WEXITSTATUS(status) == 0 ? 1 : WEXITSTATUS(status);
}
}  // namespace
}  // namespace gantry::launcher

int main(int argc, char** argv) { return gantry::launcher::main(argc, argv); }
