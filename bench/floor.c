// The floor: the least that a container is on this kernel. clone3 with new pid, mount, uts, ipc,
// net and cgroup namespaces; a bind mount of the root, proc, tmpfs, sysfs, pivot_root; exec of a
// static `true`; wait. No cgroup.
//   floor [options] ROOT        ROOT holds a static /bin/true and the folders proc, dev, sys
#include "bench/loop.h"

#include <signal.h>
#include <sys/mount.h>

static void child(const char* root) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) loop_die("make / private");
  if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) != 0) loop_die(root);
  if (chdir(root) != 0) loop_die("chdir");
  if (mount("proc", "proc", "proc", 0, NULL) != 0) loop_die("mount proc");
  if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID, NULL) != 0) loop_die("mount dev");
  if (mount("sysfs", "sys", "sysfs", MS_RDONLY, NULL) != 0) loop_die("mount sys");
  if (syscall(SYS_pivot_root, ".", ".") != 0) loop_die("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) loop_die("umount of the old root");
  char* const argv[] = {"true", NULL};
  char* const envp[] = {"PATH=/bin", NULL};
  execve("/bin/true", argv, envp);
  loop_die("exec of /bin/true");
}

static void launch(void* context, int number) {
  (void)number;
  struct clone_args args = {.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWNET | CLONE_NEWCGROUP,
                            .exit_signal = SIGCHLD};
  const long pid = loop_clone3(&args);
  if (pid < 0) loop_die("clone3");
  if (pid == 0) child(context);
  loop_wait((pid_t)pid);
}

int main(int argc, char** argv) {
  struct loop_options options;
  const int first = loop_parse(argc, argv, &options, "ROOT");
  loop_run(&options, launch, argv[first]);
  return 0;
}
