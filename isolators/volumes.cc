#include <linux/mount.h>
#include <sys/mount.h>

#include <algorithm>
#include <map>

#include "base/cgroup_fs.h"
#include "isolators/plan_isolators.h"
#include "isolators/plan_ops.h"

namespace gantry {
namespace {
bool is_at_or_below(std::string_view path, std::string_view directory) {
  return path == directory ||
         (path.starts_with(directory) && path.substr(directory.size()).starts_with('/'));
}

uint64_t propagation_flag(Propagation propagation) {
  switch (propagation) {
    case Propagation::private_:
    case Propagation::rprivate:
      return MS_PRIVATE;
    case Propagation::slave:
    case Propagation::rslave:
      return MS_SLAVE;
    case Propagation::shared:
    case Propagation::rshared:
      return MS_SHARED;
  }
  return MS_PRIVATE;
}

uint64_t attributes_of(const MountSpec& mount) {
  return (mount.read_only ? MOUNT_ATTR_RDONLY : 0u) | (mount.nosuid ? MOUNT_ATTR_NOSUID : 0u) |
         (mount.nodev ? MOUNT_ATTR_NODEV : 0u) | (mount.noexec ? MOUNT_ATTR_NOEXEC : 0u);
}

uint16_t flags_of(bool after) { return after ? static_cast<uint16_t>(kOpNoSymlinks) : uint16_t{0}; }

// ORDER: a volume goes on before /proc, /dev and /sys do, which accept no symbolic links: one that
// an image leads there (/data -> /proc) ends below the real one. Those that belong into /dev or
// /sys come after, and must get there without links.
bool belongs_after(std::string_view destination) {
  return std::ranges::any_of(std::initializer_list<std::string_view>{"/dev", "/sys", "/proc"},
                             [&](std::string_view d) { return is_at_or_below(destination, d); });
}

Result<void> add_bind(const MountSpec& mount, bool may_make, LaunchPlan::Builder& plan) {
  if (mount.source.empty() || mount.source[0] != '/') {
    return Error(Errc::invalid, cat("mount ", mount.destination, ": source '", mount.source,
                                    "' must be an absolute path of the host"));
  }
  const bool after = belongs_after(mount.destination);
  plan.add(after ? Stage::volumes : Stage::root,
           {.kind = OpKind::kBind,
            .flags = flags_of(after),
            .s1 = plan.str(mount.source),
            .s2 = plan.str(mount.destination),
            .a = attributes_of(mount),
            .b = (mount.recursive ? kBindRecursive : 0u) |
                 (may_make ? kBindMakeFile | kBindMakeDirectory : 0u),
            .c = propagation_flag(mount.propagation)});
  return {};
}

void add_tmpfs(const MountSpec& mount, bool may_make, LaunchPlan::Builder& plan) {
  ops::Options options = {{"mode", "1777"}};
  if (mount.mode) {
    char octal[16];
    std::snprintf(octal, sizeof octal, "%o", *mount.mode & 07777);
    options[0].second = octal;
  }
  if (mount.size) options.emplace_back("size", cat(*mount.size));
  const bool after = belongs_after(mount.destination);
  plan.add(after ? Stage::volumes : Stage::root,
           {.kind = OpKind::kMountFs,
            .flags = flags_of(after),
            .s1 = plan.str("tmpfs"),
            .s2 = plan.str(mount.destination),
            .s3 = ops::options(plan, options),
            .a = attributes_of(mount) | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
            .b = may_make ? 0755u : 0u});
}
}  // namespace

Result<void> VolumesIsolator::check_destination(std::string_view destination) {
  const auto refuse = [&](std::string_view why) {
    return Error(Errc::invalid, cat("mount destination '", destination.substr(0, 200), "': ", why));
  };
  if (destination.empty() || destination[0] != '/') return refuse("must be an absolute path");
  if (destination.size() > 4095) return refuse("is longer than 4095 bytes");
  if (destination.find('\0') != std::string_view::npos) return refuse("holds a NUL byte");
  std::string clean;  // without repeated slashes and dots
  for (std::string_view part : split(destination, '/')) {
    if (part == "..") return refuse("must not hold '..'");
    if (part.size() > 255) return refuse("a name in it is longer than 255 bytes");
    if (!part.empty() && part != ".") clean += cat("/", part);
  }
  if (clean.empty()) return refuse("the root itself is the image's");
  if (clean == "/proc" || clean == "/sys" || clean == "/dev") return refuse("is Gantry's own");
  if (is_at_or_below(clean, "/proc")) {
    // What lxcfs offers: files that tell of the container's own share.
    constexpr std::string_view kAllowed[] = {"cpuinfo",  "diskstats", "loadavg", "meminfo",
                                             "slabinfo", "stat",      "swaps",   "uptime"};
    if (std::ranges::find(kAllowed, clean.substr(6)) == std::end(kAllowed)) {
      return refuse(
          "only cpuinfo, diskstats, loadavg, meminfo, slabinfo, stat, swaps and uptime "
          "may be covered in /proc");
    }
  }
  return {};
}

Co<Result<void>> VolumesIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  const ContainerSpec& spec = context.spec;
  if (spec.namespaces.mount.kind == NamespaceChoice::Kind::join) co_return Result<void>();
  std::vector<MountSpec> mounts = spec.mounts;
  if (!spec.sandbox_mount.empty()) {
    MountSpec sandbox;
    sandbox.source = context.sandbox;
    sandbox.destination = spec.sandbox_mount;
    sandbox.recursive = false;
    sandbox.nosuid = sandbox.nodev = true;
    mounts.push_back(std::move(sandbox));
  }
  // Parents before what goes into them, whatever order they were named in.
  std::map<std::pair<long, size_t>, const MountSpec*> ordered;
  for (size_t i = 0; i < mounts.size(); ++i) {
    ordered[{std::ranges::count(mounts[i].destination, '/'), i}] = &mounts[i];
  }
  // On the host's root nothing is made for them.
  const bool may_make = context.rootfs.kind != Rootfs::Kind::host;
  for (const auto& [place, entry] : ordered) {
    const MountSpec& mount = *entry;
    GANTRY_CO_TRY(check_destination(mount.destination));
    switch (mount.type) {
      case MountSpec::Type::bind:
        GANTRY_CO_TRY(add_bind(mount, may_make, plan));
        break;
      case MountSpec::Type::volume:
        if (mount.source.empty()) {
          co_return Error(Errc::unsupported, cat("mount ", mount.destination,
                                                 ": a volume without a source needs an image"));
        }
        if (mount.source.find('/') == std::string::npos) {
          co_return Error(Errc::unsupported,
                          cat("mount ", mount.destination, ": named volume '", mount.source,
                              "': give an absolute path of the host instead"));
        }
        GANTRY_CO_TRY(add_bind(mount, may_make, plan));
        break;
      case MountSpec::Type::tmpfs:
        add_tmpfs(mount, may_make, plan);
        break;
    }
  }
  co_return Result<void>();
}
}  // namespace gantry
