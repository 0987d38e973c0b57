#include "executor/doctor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <csignal>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "network/probe.h"

namespace gantry {
namespace {
using Verdict = Finding::Verdict;

class Examination {
 public:
  explicit Examination(const Config& config) : config_(config) {}
  std::vector<Finding> run() {
    kernel();
    cgroups();
    namespaces();
    file_systems();
    security();
    network();
    limits();
    access();
    return std::move(findings_);
  }

 private:
  void add(Verdict verdict, std::string feature, std::string detail, std::string remedy = {}) {
    findings_.push_back({verdict, std::move(feature), std::move(detail), std::move(remedy)});
  }

  void kernel() {
    utsname name{};
    ::uname(&name);
    add(Verdict::ok, "kernel", cat(name.sysname, " ", name.release, " ", name.machine));
    auto self = sys::pidfd_open(::getpid());
    if (!self) {
      add(Verdict::missing, "pidfd", self.error().to_string(), "Linux 5.10 or newer is needed");
      return;
    }
    auto status = sys::pidfd_exit_status(self->get());
    bool known = status || !status.error().is(Errc::unsupported);
    add(known ? Verdict::ok : Verdict::degraded, "exit status after the launcher's death",
        known ? "pidfds keep it (PIDFD_GET_INFO)" : "pidfds do not keep it",
        known ? "" : "Linux 6.15 or newer; until then such an exit is reported as lost");
  }

  void cgroups() {
    auto layout = CgroupLayout::detect();
    if (!layout || layout->kind() == CgroupLayout::Kind::none) {
      add(Verdict::missing, "cgroups", "no hierarchy is mounted",
          "mount cgroup2 on /sys/fs/cgroup");
      return;
    }
    add(Verdict::ok, "cgroups", cat(to_string(layout->kind()), ", ROOT is ", config_.cgroup_root));
    const CgroupHierarchy* unified = layout->unified();
    bool freezer = unified != nullptr || layout->find("freezer") != nullptr;
    add(freezer ? Verdict::ok : Verdict::missing, "pause and kill",
        unified   ? "cgroup v2 freezer and cgroup.kill"
        : freezer ? "cgroup v1 freezer"
                  : "no freezer");
    for (const char* controller : {"cpu", "cpuset", "memory", "pids", "devices", "io", "hugetlb"}) {
      std::string v1 = std::string_view(controller) == "io" ? "blkio" : controller;
      const CgroupHierarchy* found = layout->find(v1);
      if (found == nullptr) found = layout->find(controller);
      // Devices are a BPF program on v2: no controller is needed.
      if (found == nullptr && std::string_view(controller) == "devices") found = unified;
      if (found != nullptr) {
        add(Verdict::ok, cat("limit: ", controller),
            cat(found->is_v2 ? "v2" : "v1", " at ", found->path));
      } else {
        add(Verdict::missing, cat("limit: ", controller), "no mounted hierarchy has it",
            "launches that ask for this limit are refused");
      }
    }
  }

  void namespaces() {
    for (const char* name : {"pid", "mnt", "uts", "ipc", "net", "cgroup", "user", "time"}) {
      bool there = ::access(cat("/proc/self/ns/", name).c_str(), F_OK) == 0;
      add(there ? Verdict::ok : Verdict::missing, cat("namespace: ", name),
          there ? "available" : "the kernel was built without it");
    }
  }

  void file_systems() {
    auto known = sys::read_file("/proc/filesystems", 1u << 16);
    auto has = [&](std::string_view name) {
      return known && known->find(cat("\t", name, "\n")) != std::string::npos;
    };
    // Loads the module where it is one.
    UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
    add(context ? Verdict::ok : Verdict::degraded, "overlayfs",
        context ? "available" : "not in this kernel, nor a module of it",
        context ? "" : "images are copied for each container instead");
    for (const char* name : {"tmpfs", "proc", "sysfs", "devpts", "mqueue"}) {
      if (!has(name)) add(Verdict::missing, cat("file system: ", name), "not in this kernel");
    }
    // Where it would be on disk the executor mounts one of its own there.
    struct ::statfs fs;
    const bool on_tmpfs =
        ::statfs(config_.runtime_dir.c_str(), &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    add(on_tmpfs ? Verdict::ok : Verdict::degraded, "runtime directory",
        cat(config_.runtime_dir, on_tmpfs ? " is on a tmpfs" : " is on disk"),
        on_tmpfs ? "" : "what is in it is to go with a reboot");
  }

  void security() {
    uint32_t action = SECCOMP_RET_ERRNO;
    bool filter = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    add(filter ? Verdict::ok : Verdict::missing, "seccomp",
        filter ? "filters available" : "the kernel has no seccomp filters");
    std::string lsm =
        sys::read_file("/sys/kernel/security/lsm", 4096).value_or(std::string("none listed"));
    add(Verdict::ok, "security modules", std::string(trim(lsm)));
    for (auto [number, name, effect] :
         {std::tuple(CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "nothing can be launched"),
          std::tuple(CAP_NET_ADMIN, "CAP_NET_ADMIN", "no bridge network"),
          std::tuple(CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE",
                     "hard rlimits cannot be raised, oom_score_adj cannot be lowered")}) {
      bool held = ::prctl(PR_CAPBSET_READ, number) == 1;
      add(held                      ? Verdict::ok
          : number == CAP_SYS_ADMIN ? Verdict::missing
                                    : Verdict::degraded,
          name, held ? "held" : effect);
    }
  }

  void network() {
    Result<void> made = probe_bridge_network();
    add(made ? Verdict::ok : Verdict::missing, "bridge network",
        made ? "bridge, veth, nf_tables; no helper programs" : made.error().to_string(),
        made
            ? ""
            : "bridge, veth and nf_tables are needed in the kernel; launches with a bridge network "
              "are refused");
  }

  void limits() {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    bool enough = files.rlim_max >= 20'000;
    add(enough ? Verdict::ok : Verdict::degraded, "open files", cat("hard limit ", files.rlim_max),
        enough ? "" : "about 8 are needed for each running container");
  }

  void access() {
    add(Verdict::ok, "who may use the socket",
        "root, and the group `gantry` where it exists: its members are root-equivalent");
    if (!config_.listen_insecure.empty()) {
      add(Verdict::degraded, "insecure listener",
          cat(config_.listen_insecure, ": every local user is root-equivalent through it"),
          "use the unix socket");
    }
  }

  const Config& config_;
  std::vector<Finding> findings_;
};
}  // namespace

std::vector<Finding> examine_host(const Config& config) { return Examination(config).run(); }
}  // namespace gantry
