// gantry-init COMMAND [ARGUMENT…]: PID 1 of a container that asked for one. Starts the command,
// forwards every signal to it, reaps whatever is orphaned, and ends as the command ended (128 + n
// after a signal). The command's own end ends the container, as without an init.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {
// Signals that say something of this very process, or belong to the terminal's job control.
bool is_own(int number) {
  static constexpr int kOwn[] = {SIGCHLD, SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGTRAP, SIGSYS,  SIGTTIN, SIGTTOU};
  for (int own : kOwn) {
    if (number == own) return true;
  }
  return false;
}

// Reaps all that has ended. True once the command is among it.
bool reap(pid_t command, int* code) {
  bool is_over = false;
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != command) continue;
    is_over = true;
    *code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return is_over;
}
}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: gantry-init COMMAND [ARGUMENT...]\n");
    return 2;
  }
  // Outside of a pid namespace of its own (joined one) orphans would go elsewhere.
  if (getpid() != 1) prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  // KERNEL: a background process group is stopped when it uses the terminal; the command must be
  // in the foreground, as it would be without us.
  signal(SIGTTOU, SIG_IGN);
  const pid_t command = fork();
  if (command < 0) {
    perror("gantry-init: fork");
    return 125;
  }
  if (command == 0) {
    setpgid(0, 0);
    if (isatty(0)) tcsetpgrp(0, getpid());
    signal(SIGTTOU, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    execvp(argv[1], argv + 1);
    const int error = errno;
    fprintf(stderr, "gantry-init: exec %s: %s\n", argv[1], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
  }
  int code = 0;
  for (;;) {
    // SIGCHLD stays blocked and pending: nothing is missed between two looks.
    const int number = sigwaitinfo(&all, nullptr);
    if (number < 0) continue;
    if (number == SIGCHLD) {
      if (reap(command, &code)) return code;
    } else if (!is_own(number)) {
      kill(command, number);
    }
  }
}
