// A static program that tries one thing inside a container and prints what the kernel said.
//   probe calls              name=errno of a list of system calls
//   probe hog MIB            touches that much memory
//   probe hold MIB           the same, and keeps it
//   probe forks N            forks sleeping children until it fails or N are there; prints how many
//   probe open PATH FLAGS    errno of an open (r, w or rw)
//   probe mknod PATH b|c MAJOR MINOR
//   probe spin MILLISECONDS  burns cpu for that long
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

namespace {
void say(const char* name, long result) { printf("%s=%d\n", name, result < 0 ? errno : 0); }

int calls() {
  say("clone3", syscall(SYS_clone3, nullptr, 0));
  say("socket_inet", syscall(SYS_socket, 2, 1, 0));
  say("socket_alg", syscall(SYS_socket, 38, 5, 0));
  say("socket_alg_high", syscall(SYS_socket, 0x100000026L, 5, 0));
  say("socket_vsock", syscall(SYS_socket, 40, 1, 0));
  say("unshare_user", syscall(SYS_unshare, CLONE_NEWUSER));
  say("clone_newuser", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  say("mount", syscall(SYS_mount, "a", "/tmp", "tmpfs", 0, 0));
  say("keyctl", syscall(SYS_keyctl, 0, 0));
  say("bpf", syscall(SYS_bpf, 0, nullptr, 0));
  say("io_uring_setup", syscall(SYS_io_uring_setup, 1, nullptr));
  say("userfaultfd", syscall(323, 0));
  say("ptrace", syscall(SYS_ptrace, 99, 0, 0, 0));
  say("personality_query", syscall(SYS_personality, 0xffffffffL));
  say("personality_aslr", syscall(SYS_personality, ADDR_NO_RANDOMIZE));
  say("newest", syscall(469, 0, 0, 0, 0));
  say("tomorrow", syscall(700, 0));
  say("x32_getpid", syscall(0x40000000L | SYS_getpid));
  say("getpid", syscall(SYS_getpid));
  return 0;
}

int hog(size_t mib) {
  for (size_t i = 0; i < mib; ++i) {
    // Volatile, or the compiler sees that nobody reads it.
    auto* block = static_cast<volatile char*>(malloc(1 << 20));
    if (block == nullptr) return 3;
    for (size_t at = 0; at < 1 << 20; at += 4096) block[at] = static_cast<char>(i + 1);
  }
  return 0;
}

int forks(int most) {
  int made = 0;
  for (; made < most; ++made) {
    const pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      pause();
      _exit(0);
    }
  }
  printf("forked=%d errno=%d\n", made, made == most ? 0 : errno);
  return 0;
}

int spin(long milliseconds) {
  timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
           milliseconds);
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("cpu_ms=%ld\n", usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 +
                             usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000);
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto is = [&](const char* word, int count) {
    return argc == count && strcmp(argv[1], word) == 0;
  };
  if (is("calls", 2)) return calls();
  if (is("hog", 3)) return hog(strtoul(argv[2], nullptr, 10));
  if (is("hold", 3)) {
    hog(strtoul(argv[2], nullptr, 10));
    return pause();
  }
  if (is("forks", 3)) return forks(atoi(argv[2]));
  if (is("spin", 3)) return spin(atol(argv[2]));
  if (is("open", 4)) {
    const int flags = strcmp(argv[3], "r") == 0   ? O_RDONLY
                      : strcmp(argv[3], "w") == 0 ? O_WRONLY
                                                  : O_RDWR;
    say("open", open(argv[2], flags | O_NONBLOCK | O_CLOEXEC));
    return 0;
  }
  if (is("mknod", 6)) {
    say("mknod",
        mknod(argv[2], (argv[3][0] == 'b' ? S_IFBLK : S_IFCHR) | 0666,
              makedev(static_cast<unsigned>(atoi(argv[4])), static_cast<unsigned>(atoi(argv[5])))));
    return 0;
  }
  return 2;
}
