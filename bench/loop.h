// What bench/floor.c, kernel.c and command.c share: one launch is timed again and again, back to
// back or after idling, alone or with several in flight.
#pragma once

#include <errno.h>
#include <linux/sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct loop_options {
  int launches;   // in all
  int idle_ms;    // slept before each launch, not timed
  int in_flight;  // processes that launch at the same time
  int raw;        // print every time in microseconds instead of a summary
};

_Noreturn static void loop_die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static double loop_now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int loop_compare(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

// Reads the options in front of the program's own arguments; returns the index of the first of
// those.
static inline int loop_parse(int argc, char** argv, struct loop_options* options,
                             const char* usage) {
  *options = (struct loop_options){.launches = 300, .in_flight = 1};
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    if (strcmp(argv[at], "--raw") == 0) {
      options->raw = 1;
    } else if (strcmp(argv[at], "--launches") == 0 && at + 1 < argc) {
      options->launches = atoi(argv[++at]);
    } else if (strcmp(argv[at], "--idle-ms") == 0 && at + 1 < argc) {
      options->idle_ms = atoi(argv[++at]);
    } else if (strcmp(argv[at], "--in-flight") == 0 && at + 1 < argc) {
      options->in_flight = atoi(argv[++at]);
    } else {
      break;
    }
  }
  if (at >= argc || argv[at][0] == '-' || options->launches < 1 || options->in_flight < 1) {
    fprintf(stderr, "usage: %s [--launches N] [--idle-ms MS] [--in-flight N] [--raw] %s\n", argv[0],
            usage);
    exit(2);
  }
  return at;
}

// Alone: every launch is timed. Several in flight: only the whole is.
static inline void loop_run(const struct loop_options* options,
                            void (*launch)(void* context, int number), void* context) {
  if (options->in_flight > 1) {
    const double start = loop_now_us();
    for (int worker = 0; worker < options->in_flight; ++worker) {
      const pid_t pid = fork();
      if (pid < 0) loop_die("fork");
      if (pid == 0) {
        for (int i = worker; i < options->launches; i += options->in_flight) launch(context, i);
        _exit(0);
      }
    }
    int status = 0, failed = 0;
    for (int worker = 0; worker < options->in_flight; ++worker) {
      wait(&status);
      failed |= status;
    }
    if (failed) exit(1);
    const double seconds = (loop_now_us() - start) / 1e6;
    printf("%.1f per second, %d in flight\n", options->launches / seconds, options->in_flight);
    return;
  }
  double* times = calloc((size_t)options->launches, sizeof(double));
  if (times == NULL) loop_die("calloc");
  for (int i = 0; i < options->launches; ++i) {
    if (options->idle_ms > 0) usleep((unsigned)options->idle_ms * 1000);
    const double start = loop_now_us();
    launch(context, i);
    times[i] = loop_now_us() - start;
    if (options->raw) printf("%.1f\n", times[i]);
  }
  if (!options->raw) {
    qsort(times, (size_t)options->launches, sizeof(double), loop_compare);
    printf("median %.3f ms, p99 %.3f ms, %d launches\n", times[options->launches / 2] / 1e3,
           times[options->launches * 99 / 100] / 1e3, options->launches);
  }
  free(times);
}

static inline long loop_clone3(struct clone_args* args) {
  return syscall(SYS_clone3, args, sizeof(*args));
}

// Waits for one child and insists on exit code 0.
static inline void loop_wait(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) loop_die("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "the launched program ended with wait status %#x\n", status);
    exit(1);
  }
}
