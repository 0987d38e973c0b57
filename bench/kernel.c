// The kernel's share of a launch: what Gantry's default plan asks of the kernel, in sequence, and
// nothing more. Cgroups in every hierarchy with device rules, pids and cpu values; pipes; clone3;
// moves; the signal byte; the mounts of an OCI default container with /dev, masked and read-only
// paths; ids, capabilities, a filter like Docker's made by libseccomp (CTL_OPTIMIZE 2, compiled
// once); exec of a static `true`; wait; rmdir.
//   kernel [options] ROOT        ROOT holds a static /bin/true and the folders proc, dev, sys
// KERNEL_WITHOUT=cgroups,filter,mounts leaves those out, to see what each costs.
#include "bench/loop.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define OURS "gantry-bench-kernel"

static bool without_cgroups, without_filter, without_mounts;

// A mounted hierarchy: v1 controllers, name=systemd, and v2 (unified, or the root itself on a pure
// v2 host).
struct hierarchy {
  char path[96];
  char name[32];
  bool is_v2;
};
static struct hierarchy hierarchies[24];
static int hierarchy_count;
static struct sock_fprog filter;

static void check(long result, const char* what) {
  if (result < 0) loop_die(what);
}

static void find_hierarchies(void) {
  FILE* mounts = fopen("/proc/self/mounts", "re");
  char device[64], path[96], type[32], options[512];
  while (mounts != NULL &&
         fscanf(mounts, "%63s %95s %31s %511s %*d %*d\n", device, path, type, options) == 4) {
    const bool is_v2 = strcmp(type, "cgroup2") == 0;
    if ((!is_v2 && strcmp(type, "cgroup") != 0) || hierarchy_count == 24) continue;
    struct hierarchy* h = &hierarchies[hierarchy_count++];
    snprintf(h->path, sizeof(h->path), "%s", path);
    const char* last = strrchr(path, '/');
    snprintf(h->name, sizeof(h->name), "%s", last == NULL ? path : last + 1);
    h->is_v2 = is_v2;
  }
  if (mounts != NULL) fclose(mounts);
}

static void write_file(int folder, const char* name, const char* text) {
  const int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
  check(fd, name);
  check(write(fd, text, strlen(text)), name);
  close(fd);
}

static void copy_file(int from, int to, const char* name) {
  char text[256];
  const int fd = openat(from, name, O_RDONLY | O_CLOEXEC);
  check(fd, name);
  const ssize_t size = read(fd, text, sizeof(text) - 1);
  check(size, name);
  close(fd);
  text[size] = '\0';
  write_file(to, name, text);
}

static const char* const kDeviceRules[] = {"c *:* m",     "b *:* m",   "c 1:3 rwm", "c 1:5 rwm",
                                           "c 1:7 rwm",   "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
                                           "c 136:* rwm", "c 5:2 rwm"};

static void limit(const struct hierarchy* h, int parent, int folder) {
  if (strcmp(h->name, "devices") == 0) {
    write_file(folder, "devices.deny", "a");
    for (size_t i = 0; i < sizeof(kDeviceRules) / sizeof(kDeviceRules[0]); ++i) {
      write_file(folder, "devices.allow", kDeviceRules[i]);
    }
  } else if (strcmp(h->name, "pids") == 0) {
    write_file(folder, "pids.max", "4096");
  } else if (strcmp(h->name, "cpu") == 0) {
    write_file(folder, "cpu.shares", "1024");
    write_file(folder, "cpu.cfs_period_us", "100000");
  } else if (strcmp(h->name, "cpuset") == 0) {
    copy_file(parent, folder, "cpuset.cpus");
    copy_file(parent, folder, "cpuset.mems");
  }
}

// Makes one container's cgroups; fills `tasks` with an fd per v1 hierarchy and returns the v2
// folder's fd, or -1.
static int make_cgroups(const char* name, int* tasks, int* task_count) {
  int v2 = -1;
  for (int i = 0; i < hierarchy_count; ++i) {
    const struct hierarchy* h = &hierarchies[i];
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", h->path, OURS);
    const int parent = open(path, O_DIRECTORY | O_CLOEXEC);
    check(parent, path);
    check(mkdirat(parent, name, 0755), "mkdir of a cgroup");
    const int folder = openat(parent, name, O_DIRECTORY | O_CLOEXEC);
    check(folder, "open of a cgroup");
    limit(h, parent, folder);
    close(parent);
    if (h->is_v2) {
      v2 = folder;
    } else {
      tasks[*task_count] = openat(folder, "tasks", O_WRONLY | O_CLOEXEC);
      check(tasks[(*task_count)++], "open of tasks");
      close(folder);
    }
  }
  return v2;
}

static void remove_cgroups(const char* name) {
  for (int i = 0; i < hierarchy_count; ++i) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s/%s", hierarchies[i].path, OURS, name);
    check(rmdir(path), path);
  }
}

static void set_up_folders(bool make) {
  for (int i = 0; i < hierarchy_count; ++i) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", hierarchies[i].path, OURS);
    if (!make) {
      rmdir(path);
      continue;
    }
    if (mkdir(path, 0755) != 0 && errno != EEXIST) loop_die(path);
    if (strcmp(hierarchies[i].name, "cpuset") == 0) {
      const int parent = open(hierarchies[i].path, O_DIRECTORY | O_CLOEXEC);
      const int folder = open(path, O_DIRECTORY | O_CLOEXEC);
      copy_file(parent, folder, "cpuset.cpus");
      copy_file(parent, folder, "cpuset.mems");
      close(parent);
      close(folder);
    }
  }
}

// What Docker's default profile does not allow (without CAP_SYS_ADMIN and the like).
static const char* const kForbidden[] = {
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy",
    "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mbind", "mount", "mount_setattr", "move_mount", "move_pages",
    "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
    "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace", "query_module", "quotactl",
    "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setns", "settimeofday", "stime",
    "swapon", "swapoff", "sysfs", "_sysctl", "umount", "umount2", "unshare", "uselib",
    "userfaultfd", "ustat", "vm86", "vm86old", "syslog", "vhangup", "chroot", "sethostname",
    "setdomainname", "io_uring_setup", "io_uring_enter", "io_uring_register",
    // These have rules of their own below.
    "personality", "clone", "clone3", "socket"};

static bool is_forbidden(const char* name) {
  for (size_t i = 0; i < sizeof(kForbidden) / sizeof(kForbidden[0]); ++i) {
    if (strcmp(kForbidden[i], name) == 0) return true;
  }
  return false;
}

static void rule(int result) {
  if (result < 0) {
    errno = -result;
    loop_die("seccomp_rule_add");
  }
}

static void compile_filter(void) {
  scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (ctx == NULL) loop_die("seccomp_init");
  seccomp_arch_add(ctx, SCMP_ARCH_X86);
  seccomp_arch_add(ctx, SCMP_ARCH_X32);
  rule(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2));
  for (int nr = 0; nr < 460; ++nr) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);
    if (name == NULL) continue;
    if (!is_forbidden(name)) rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0));
    free(name);
  }
  // 32-bit programs' own calls; libseccomp gives them pseudo numbers on x86_64.
  for (int nr = 0; nr < 460; ++nr) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86, nr);
    if (name == NULL) continue;
    const int here = seccomp_syscall_resolve_name(name);
    if (here < 0 && here != __NR_SCMP_ERROR && !is_forbidden(name)) {
      rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, here, 0));
    }
    free(name);
  }
  static const unsigned long kPersonalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};
  for (int i = 0; i < 5; ++i) {
    rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
                          SCMP_A0(SCMP_CMP_EQ, kPersonalities[i], 0)));
  }
  rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                        SCMP_A0(SCMP_CMP_MASKED_EQ, 0x7e020000, 0)));
  rule(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0));
  rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_LT, 38, 0)));
  rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, 39, 0)));
  rule(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, 40, 0)));
  const int fd = memfd_create("filter", MFD_CLOEXEC);
  check(fd, "memfd_create");
  rule(seccomp_export_bpf(ctx, fd));
  const off_t size = lseek(fd, 0, SEEK_END);
  filter.len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
  filter.filter = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (filter.filter == MAP_FAILED) loop_die("mmap");
  seccomp_release(ctx);
}

static const struct {
  const char* path;
  unsigned major, minor;
} kNodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5},   {"dev/full", 1, 7},
              {"dev/tty", 5, 0},  {"dev/random", 1, 8}, {"dev/urandom", 1, 9}};
static const char* const kLinks[][2] = {
    {"/proc/self/fd", "dev/fd"},       {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
    {"pts/ptmx", "dev/ptmx"},          {"/proc/kcore", "dev/core"}};
static const char* const kMasked[] = {
    "/proc/acpi",       "/proc/asound",      "/proc/interrupts",
    "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
static const char* const kReadOnly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                        "/proc/sysrq-trigger"};

static void mounts(const char* root) {
  check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make / a slave");
  check(mount(root, root, NULL, MS_BIND | MS_REC, NULL), root);
  check(chdir(root), "chdir");
  const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  check(mount("proc", "proc", "proc", plain, NULL), "mount proc");
  check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"),
        "mount dev");
  check(mkdir("dev/pts", 0755) | mkdir("dev/shm", 01777) | mkdir("dev/mqueue", 01777),
        "mkdir in dev");
  check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        "mount devpts");
  check(mount("shm", "dev/shm", "tmpfs", plain, "mode=1777,size=65536k"), "mount shm");
  check(mount("mqueue", "dev/mqueue", "mqueue", plain, NULL), "mount mqueue");
  check(mount("sysfs", "sys", "sysfs", plain | MS_RDONLY, NULL), "mount sys");
  for (size_t i = 0; i < sizeof(kNodes) / sizeof(kNodes[0]); ++i) {
    check(mknod(kNodes[i].path, S_IFCHR | 0666, makedev(kNodes[i].major, kNodes[i].minor)),
          kNodes[i].path);
  }
  for (size_t i = 0; i < sizeof(kLinks) / sizeof(kLinks[0]); ++i) {
    check(symlink(kLinks[i][0], kLinks[i][1]), kLinks[i][1]);
  }
  check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  check(umount2(".", MNT_DETACH), "umount of the old root");
  check(chdir("/"), "chdir /");
  for (size_t i = 0; i < sizeof(kReadOnly) / sizeof(kReadOnly[0]); ++i) {
    if (mount(kReadOnly[i], kReadOnly[i], NULL, MS_BIND | MS_REC, NULL) != 0) continue;
    check(mount(NULL, kReadOnly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | plain, NULL),
          kReadOnly[i]);
  }
  for (size_t i = 0; i < sizeof(kMasked) / sizeof(kMasked[0]); ++i) {
    if (mount("/dev/null", kMasked[i], NULL, MS_BIND, NULL) == 0) continue;
    if (errno == ENOTDIR)
      check(mount("tmpfs", kMasked[i], "tmpfs", MS_RDONLY, "size=0k"), kMasked[i]);
  }
}

static void capabilities(void) {
  // Docker's fourteen: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
  // net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
  const uint64_t keep = 0xa80425fb;
  for (int cap = 0; cap <= 40; ++cap) {
    if ((keep >> cap & 1) == 0)
      check(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "drop from the bounding set");
  }
  check(syscall(SYS_setgroups, 0, NULL), "setgroups");
  check(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
  check(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{(uint32_t)keep, (uint32_t)keep, 0}, {0, 0, 0}};
  check(syscall(SYS_capset, &header, data), "capset");
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities");
}

static void loopback_up(void) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  check(fd, "socket");
  check(ioctl(fd, SIOCSIFFLAGS, &request), "loopback up");
  close(fd);
}

// What the starter would leak in otherwise.
static void normalise(void) {
  write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0");
  check(setpriority(PRIO_PROCESS, 0, 0), "setpriority");
  cpu_set_t all;
  memset(&all, 0xff, sizeof(all));
  check(sched_setaffinity(0, sizeof(all), &all), "sched_setaffinity");
  umask(022);
  const struct rlimit core = {0, 0};
  check(setrlimit(RLIMIT_CORE, &core), "setrlimit");
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

static void child(const char* root, const int* tasks, int task_count, int signal_fd,
                  const int* output) {
  check(prctl(PR_SET_PDEATHSIG, SIGKILL), "PR_SET_PDEATHSIG");
  for (int i = 0; i < task_count; ++i) check(write(tasks[i], "0", 1), "move into a cgroup");
  char byte;
  if (read(signal_fd, &byte, 1) != 1) _exit(1);
  if (!without_cgroups) check(unshare(CLONE_NEWCGROUP), "cgroup namespace");
  check(dup2(output[0], 1) | dup2(output[1], 2), "dup2");
  check(setsid(), "setsid");
  normalise();
  loopback_up();
  check(sethostname("bench", 5), "sethostname");
  if (without_mounts) {
    check(chroot(root) | chdir("/"), "chroot");
  } else {
    mounts(root);
    capabilities();
  }
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  if (!without_filter) check(syscall(SYS_seccomp, 1, 0, &filter), "seccomp");
  check(prctl(PR_SET_PDEATHSIG, 0), "PR_SET_PDEATHSIG");
  char* const argv[] = {"true", NULL};
  char* const envp[] = {"PATH=/bin", NULL};
  execve("/bin/true", argv, envp);
  loop_die("exec of /bin/true");
}

static void launch(void* root, int number) {
  char name[64];
  snprintf(name, sizeof(name), "%d-%d", (int)getpid(), number);
  int tasks[24], task_count = 0, v2 = -1;
  int signal_pipe[2], report[2], out[2], err[2], pidfd = -1;
  if (!without_cgroups) v2 = make_cgroups(name, tasks, &task_count);
  check(pipe2(signal_pipe, O_CLOEXEC) | pipe2(report, O_CLOEXEC), "pipe2");
  check(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), "pipe2");
  struct clone_args args = {.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWNET | CLONE_PIDFD,
                            .pidfd = (uint64_t)(uintptr_t)&pidfd,
                            .exit_signal = SIGCHLD};
  if (v2 >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)v2;
  }
  const long pid = loop_clone3(&args);
  check(pid, "clone3");
  if (pid == 0) child(root, tasks, task_count, signal_pipe[0], (const int[]){out[1], err[1]});
  close(report[1]);
  check(write(signal_pipe[1], "!", 1), "signal byte");
  char byte;
  check(read(report[0], &byte, 1), "report");  // end-of-file: exec succeeded
  loop_wait((pid_t)pid);
  const int fds[] = {signal_pipe[0], signal_pipe[1], report[0], out[0],
                     out[1],         err[0],         err[1],    pidfd};
  for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); ++i) close(fds[i]);
  for (int i = 0; i < task_count; ++i) close(tasks[i]);
  if (v2 >= 0) close(v2);
  if (!without_cgroups) remove_cgroups(name);
}

int main(int argc, char** argv) {
  struct loop_options options;
  const int first = loop_parse(argc, argv, &options, "ROOT");
  const char* without = getenv("KERNEL_WITHOUT");
  without_cgroups = without != NULL && strstr(without, "cgroups") != NULL;
  without_filter = without != NULL && strstr(without, "filter") != NULL;
  without_mounts = without != NULL && strstr(without, "mounts") != NULL;
  compile_filter();
  if (getenv("KERNEL_VERBOSE") != NULL) fprintf(stderr, "filter: %d instructions\n", filter.len);
  find_hierarchies();
  if (!without_cgroups) set_up_folders(true);
  loop_run(&options, launch, argv[first]);
  if (!without_cgroups) set_up_folders(false);
  return 0;
}
