// Times a command from its start to its end: `gantry run`, crun, runc, podman. What it prints is
// thrown away.
//   command [options] PROGRAM ARGUMENT…      an argument's %d becomes a number of its own per
//   launch
#include "bench/loop.h"

#include <fcntl.h>
#include <spawn.h>

extern char** environ;

static posix_spawn_file_actions_t to_nowhere;

static void launch(void* context, int number) {
  char** words = context;
  char* argv[64];
  char text[64][256];
  int count = 0;
  for (; words[count] != NULL && count < 63; ++count) {
    argv[count] = words[count];
    char* mark = strstr(words[count], "%d");
    if (mark != NULL) {
      snprintf(text[count], sizeof(text[count]), "%.*s%d-%d%s", (int)(mark - words[count]),
               words[count], (int)getpid(), number, mark + 2);
      argv[count] = text[count];
    }
  }
  argv[count] = NULL;
  pid_t pid = 0;
  // posix_spawn shares our memory until exec: the cheapest start there is, the same for everyone.
  if ((errno = posix_spawn(&pid, argv[0], &to_nowhere, NULL, argv, environ)) != 0)
    loop_die(argv[0]);
  loop_wait(pid);
}

int main(int argc, char** argv) {
  struct loop_options options;
  const int first = loop_parse(argc, argv, &options, "PROGRAM ARGUMENT…");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || dup2(null, 0) < 0) loop_die("/dev/null");
  posix_spawn_file_actions_init(&to_nowhere);
  posix_spawn_file_actions_adddup2(&to_nowhere, null, 1);
  loop_run(&options, launch, argv + first);
  return 0;
}
