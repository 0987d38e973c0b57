#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cgroup_fs.h"
#include "isolators/plan_isolators.h"
#include "isolators/plan_ops.h"

namespace gantry {
namespace {
constexpr uint64_t kPlain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

Result<void> add_root(const Rootfs& rootfs, LaunchPlan::Builder& plan) {
  switch (rootfs.kind) {
    case Rootfs::Kind::host:
      plan.add(Stage::root, {.kind = OpKind::kRootHost});
      return {};
    case Rootfs::Kind::directory:
      plan.add(Stage::root, {.kind = OpKind::kRootBind, .s1 = plan.str(rootfs.directory), .a = 1});
      plan.add(Stage::root,
               {.kind = OpKind::kPropagation, .s1 = plan.str("/"), .a = MS_REC | MS_PRIVATE});
      return {};
    case Rootfs::Kind::overlay: {
      if (rootfs.lowers.empty()) return Error(Errc::invalid, "the image has no layer");
      std::string lowers;
      for (const std::string& lower : rootfs.lowers) lowers += lower + '\0';
      Op op{.kind = OpKind::kRootOverlay, .s1 = plan.blob(lowers.data(), lowers.size())};
      if (!rootfs.upper.empty()) {
        op.s2 = plan.str(rootfs.upper);
        op.s3 = plan.str(rootfs.work);
      }
      plan.add(Stage::root, op);
      return {};
    }
  }
  return {};
}

void add_node(LaunchPlan::Builder& plan, const DeviceNode& node) {
  const mode_t type = node.type == 'b' ? S_IFBLK : S_IFCHR;
  plan.add(Stage::staging, {.kind = OpKind::kMakeNode,
                            .s1 = plan.str(node.path),
                            .a = node.mode | type,
                            .b = gnu_dev_makedev(node.major, node.minor),
                            .c = uint64_t{node.uid} << 32 | node.gid});
}

void add_dev(const ContainerSpec& spec, LaunchPlan::Builder& plan) {
  ops::mount_fs(plan, "tmpfs", "/dev", {{"mode", "755"}, {"size", "64m"}},
                MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, Stage::staging);
  ops::mount_fs(plan, "devpts", "/dev/pts",
                {{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}},
                MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, Stage::staging);
  ops::mount_fs(plan, "tmpfs", "/dev/shm", {{"mode", "1777"}, {"size", "64m"}}, kPlain,
                Stage::staging);
  ops::mount_fs(plan, "mqueue", "/dev/mqueue", {}, kPlain, Stage::staging);
  constexpr struct {
    const char* path;
    uint32_t major, minor;
  } kNodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
  for (const auto& node : kNodes) {
    add_node(plan, {.path = node.path, .type = 'c', .major = node.major, .minor = node.minor});
  }
  constexpr const char* kLinks[][2] = {{"pts/ptmx", "/dev/ptmx"},
                                       {"/proc/self/fd", "/dev/fd"},
                                       {"/proc/self/fd/0", "/dev/stdin"},
                                       {"/proc/self/fd/1", "/dev/stdout"},
                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& link : kLinks) {
    plan.add(Stage::staging,
             {.kind = OpKind::kSymlink, .s1 = plan.str(link[0]), .s2 = plan.str(link[1])});
  }
  for (const DeviceNode& node : spec.devices) {
    const std::string parent = node.path.substr(0, node.path.rfind('/'));
    if (parent != "/dev") {
      plan.add(Stage::staging, {.kind = OpKind::kMkdir, .s1 = plan.str(parent), .a = 0755});
    }
    add_node(plan, node);
  }
}

Result<void> check_devices(const ContainerSpec& spec) {
  for (const DeviceNode& node : spec.devices) {
    if (std::holds_alternative<HostRoot>(spec.root)) {
      return Error(Errc::invalid, cat("device ", node.path,
                                      ": a task on the host's root sees the host's devices"));
    }
    if (!node.path.starts_with("/dev/") || node.path.find("..") != std::string::npos) {
      return Error(Errc::invalid,
                   cat("device ", node.path, ": its path must be below /dev in the container"));
    }
    if (node.type != 'b' && node.type != 'c') {
      return Error(Errc::invalid, cat("device ", node.path, ": its type is c or b"));
    }
  }
  return {};
}
}  // namespace

const std::vector<std::string>& RootfsIsolator::masked_paths() {
  // Docker's, with what tells of other containers' work (faults-and-attacks §1H).
  static const std::vector<std::string>& paths = *new std::vector<std::string>{
      "/proc/acpi",        "/proc/asound",  "/proc/interrupts",
      "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
      "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
      "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
  return paths;
}

const std::vector<std::string>& RootfsIsolator::readonly_paths() {
  static const std::vector<std::string>& paths = *new std::vector<std::string>{
      "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  return paths;
}

RootfsIsolator::RootfsIsolator() {
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  for (long cpu = 0; cpu < cpus; ++cpu) {
    std::string path = cat("/sys/devices/system/cpu/cpu", cpu, "/thermal_throttle");
    if (::access(path.c_str(), F_OK) == 0) thermal_paths_.push_back(std::move(path));
  }
}

void RootfsIsolator::add_walls(LaunchPlan::Builder& plan, Stage stage) const {
  for (const std::string& path : readonly_paths()) {
    ops::path(plan, OpKind::kReadonlyPath, path, stage);
  }
  for (const std::string& path : masked_paths()) ops::path(plan, OpKind::kMaskPath, path, stage);
  for (const std::string& path : thermal_paths_) ops::path(plan, OpKind::kMaskPath, path, stage);
}

// Made and masked in the staging area, where no name is the image's, and moved to the root whole.
// None of the targets there may be, or be below, a symbolic link of the image's (CVE-2019-19921 and
// its family).
void RootfsIsolator::add_mounts(const LaunchContext& context, LaunchPlan::Builder& plan) const {
  plan.add(Stage::staging, {.kind = OpKind::kStagingArea, .s1 = plan.str(context.staging_dir)});
  ops::mount_fs(plan, "proc", "/proc", {}, kPlain, Stage::staging);
  add_dev(context.spec, plan);
  ops::mount_fs(plan, "sysfs", "/sys", {}, kPlain | MOUNT_ATTR_RDONLY, Stage::staging);
  if (context.spec.security.masked_paths) add_walls(plan, Stage::staging);
  for (const char* path : {"/proc", "/dev", "/sys"}) {
    plan.add(Stage::mounts,
             {.kind = OpKind::kMoveStaged, .s1 = plan.str(path), .s2 = plan.str(path)});
  }
}

void RootfsIsolator::add_host_mounts(const ContainerSpec& spec, LaunchPlan::Builder& plan) const {
  // The pid namespace's own processes; a new instance also where that is the host's.
  ops::mount_fs(plan, "proc", "/proc", {}, kPlain);
  if (!spec.security.masked_paths) return;
  // A task on the host's root could write to its own cgroups, and to much else, in /sys.
  ops::path(plan, OpKind::kReadonlyPath, "/sys");
  add_walls(plan, Stage::readonly);
}

Co<Result<void>> RootfsIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  const ContainerSpec& spec = context.spec;
  // A joined mount namespace brings root and mounts along.
  if (spec.namespaces.mount.kind == NamespaceChoice::Kind::join) co_return Result<void>();
  GANTRY_CO_TRY(check_devices(spec));
  // Mounts of the host go on arriving (a slave), ours never leave. What is below the root is then
  // made the container's own.
  plan.add(Stage::propagation,
           {.kind = OpKind::kPropagation, .s1 = plan.str("/"), .a = MS_REC | MS_SLAVE});
  GANTRY_CO_TRY(add_root(context.rootfs, plan));
  const bool is_host = context.rootfs.kind == Rootfs::Kind::host;
  if (is_host) {
    add_host_mounts(spec, plan);
  } else {
    add_mounts(context, plan);
    plan.add(Stage::pivot, {.kind = OpKind::kPivotRoot});
  }
  if (spec.security.read_only_root) {
    if (is_host) {
      co_return Error(Errc::invalid,
                      "read_only_root: the host's root cannot be made read-only; "
                      "give an image or a rootfs");
    }
    plan.add(Stage::readonly, {.kind = OpKind::kReadonlyRoot});
  }
  co_return Result<void>();
}
}  // namespace gantry
