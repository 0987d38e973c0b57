#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <linux/nsfs.h>

#include "base/sys.h"
#include "isolators/plan_isolators.h"

namespace gantry {
namespace {
using Kind = NamespaceChoice::Kind;

Result<UniqueFd> open_namespace(const std::string& field, const std::string& path, uint64_t type) {
  auto fd = sys::open(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::move(fd).error().context("namespaces.", field, ": ", path);
  struct ::statfs fs{};
  if (::fstatfs(fd->get(), &fs) != 0 || fs.f_type != NSFS_MAGIC) {
    return Error(Errc::invalid, cat("namespaces.", field, ": ", path,
                                    " is no namespace; such as /proc/PID/ns/", field, " is"));
  }
  if (static_cast<uint64_t>(::ioctl(fd->get(), NS_GET_NSTYPE)) != type) {
    return Error(Errc::invalid,
                 cat("namespaces.", field, ": ", path, " is a namespace of another type"));
  }
  return std::move(*fd);
}

struct Choice {
  const NamespaceChoice& choice;
  uint64_t flag;
  const char* field;
};

Result<void> check_mount(const ContainerSpec& spec) {
  switch (spec.namespaces.mount.kind) {
    case Kind::private_:
      return {};
    case Kind::host:
      return Error(Errc::invalid,
                   "namespaces.mount: host is not possible, the container's mounts "
                   "would be the host's; leave it out");
    case Kind::join:
      if (std::holds_alternative<HostRoot>(spec.root) && spec.mounts.empty() &&
          spec.devices.empty()) {
        return {};
      }
      return Error(Errc::invalid,
                   "namespaces.mount: a joined one has its own root and mounts; "
                   "leave out image, rootfs, mounts and devices");
  }
  return {};
}

// Into the namespaces of a container's first process, by its pidfd: nothing in between can become
// another process. The mount namespace last: what runs before sees the host's /proc. The pid
// namespace is entered by the fork that the launch adds, when all rights are dropped.
Result<void> enter(const ProcessRef& parent, LaunchPlan::Builder& plan) {
  const int slot = plan.fd(GANTRY_TRY(sys::duplicate(parent.pidfd())));
  plan.add(Stage::namespaces,
           {.kind = OpKind::kSetns,
            .fd = slot,
            .a = CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP});
  plan.add(Stage::pivot, {.kind = OpKind::kSetns, .fd = slot, .a = CLONE_NEWNS});
  return {};
}
}  // namespace

NamespaceChoice NamespacesIsolator::network_of(const ContainerSpec& spec) {
  if (spec.namespaces.network.kind != Kind::private_) return spec.namespaces.network;
  if (spec.network.mode == NetworkSpec::Mode::host) return {.kind = Kind::host, .path = {}};
  return {};
}

Co<Result<void>> NamespacesIsolator::prepare(const LaunchContext& context,
                                             LaunchPlan::Builder& plan) {
  if (context.parent != nullptr) co_return enter(*context.parent, plan);
  const ContainerSpec& spec = context.spec;
  const NamespaceSpec& ns = spec.namespaces;
  GANTRY_CO_TRY(check_mount(spec));
  const NamespaceChoice network = network_of(spec);
  const Choice choices[] = {{ns.ipc, CLONE_NEWIPC, "ipc"},
                            {ns.uts, CLONE_NEWUTS, "uts"},
                            {network, CLONE_NEWNET, "net"},
                            {ns.pid, CLONE_NEWPID, "pid"},
                            {ns.mount, CLONE_NEWNS, "mnt"}};
  for (const Choice& c : choices) {
    if (c.choice.kind == Kind::private_) plan.add_clone_flags(c.flag);
    if (c.choice.kind != Kind::join) continue;
    const int slot = plan.fd(GANTRY_CO_TRY(open_namespace(c.field, c.choice.path, c.flag)));
    if (c.flag == CLONE_NEWPID) {
      // KERNEL: setns to a pid namespace is for children; the launcher does it around its clone.
      plan.set_pid_namespace_fd(slot);
    } else {
      plan.add(Stage::namespaces, {.kind = OpKind::kSetns, .fd = slot, .a = c.flag});
    }
  }
  // KERNEL: after the last move, or it would show the host's layout.
  if (ns.cgroup.kind == Kind::private_) {
    plan.add(Stage::namespaces, {.kind = OpKind::kUnshare, .a = CLONE_NEWCGROUP});
  } else if (ns.cgroup.kind == Kind::join) {
    const int slot =
        plan.fd(GANTRY_CO_TRY(open_namespace("cgroup", ns.cgroup.path, CLONE_NEWCGROUP)));
    plan.add(Stage::namespaces, {.kind = OpKind::kSetns, .fd = slot, .a = CLONE_NEWCGROUP});
  }
  if (network.kind == Kind::private_) {
    plan.add(Stage::namespaces, {.kind = OpKind::kLoopbackUp});
  }
  if (ns.uts.kind == Kind::private_) {
    if (context.hostname.empty() || context.hostname.size() > 64 ||
        context.hostname.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789-._%") != std::string::npos) {
      co_return Error(Errc::invalid, cat("hostname '", context.hostname.substr(0, 80),
                                         "': 1 to 64 letters, digits, '-', '.' and '_'"));
    }
    plan.add(Stage::identity, {.kind = OpKind::kHostname, .s1 = plan.str(context.hostname)});
  } else if (!spec.hostname.empty()) {
    co_return Error(Errc::invalid,
                    "hostname: the uts namespace is not the container's own, so it has none");
  }
  co_return Result<void>();
}
}  // namespace gantry
