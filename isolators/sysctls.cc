#include <algorithm>

#include "isolators/plan_isolators.h"

namespace gantry {
namespace {
using Kind = NamespaceChoice::Kind;
constexpr std::string_view kIpc[] = {"kernel/msgmax", "kernel/msgmnb",         "kernel/msgmni",
                                     "kernel/sem",    "kernel/shmall",         "kernel/shmmax",
                                     "kernel/shmmni", "kernel/shm_rmid_forced"};
}  // namespace

Result<std::string> SysctlsIsolator::path_of(std::string_view name, const ContainerSpec& spec) {
  const auto refuse = [&](std::string_view why) {
    return Error(Errc::invalid, cat("sysctl '", name.substr(0, 128), "': ", why));
  };
  std::string path;
  // sysctl(8): whichever of '.' and '/' comes first separates; the other is then literal.
  const size_t first = name.find_first_of("./");
  const char separator = first == std::string_view::npos ? '.' : name[first];
  for (char c : name) {
    const bool is_legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/';
    if (!is_legal) return refuse("is no name of a sysctl");
    path += c == separator ? '/' : (c == '.' || c == '/') ? (separator == '.' ? '.' : c) : c;
  }
  if (path.empty() || path.size() > 255 || path.front() == '/' || path.back() == '/' ||
      cat("/", path, "/").find("/../") != std::string::npos ||
      cat("/", path, "/").find("/./") != std::string::npos ||
      path.find("//") != std::string::npos) {
    return refuse("is no name of a sysctl");
  }
  const bool is_ipc =
      std::ranges::find(kIpc, path) != std::end(kIpc) || path.starts_with("fs/mqueue/");
  if (is_ipc) {
    if (spec.namespaces.ipc.kind == Kind::private_) return path;
    return refuse("the ipc namespace is not the container's own");
  }
  if (path.starts_with("net/")) {
    if (NamespacesIsolator::network_of(spec).kind == Kind::private_) return path;
    return refuse("the network namespace is not the container's own");
  }
  if (path == "kernel/domainname") {
    if (spec.namespaces.uts.kind == Kind::private_) return path;
    return refuse("the uts namespace is not the container's own");
  }
  if (path == "kernel/hostname") return refuse("use hostname");
  return refuse(
      "is the whole host's; a container may set net.*, fs.mqueue.*, kernel.msg*, "
      "kernel.sem, kernel.shm* and kernel.domainname");
}

Co<Result<void>> SysctlsIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  for (const auto& [name, value] : context.spec.security.sysctls) {
    const std::string path = GANTRY_CO_TRY(path_of(name, context.spec));
    if (value.size() > 1000 || value.find_first_of(std::string_view("\0\n\r", 3)) != value.npos) {
      co_return Error(Errc::invalid, cat("sysctl ", name,
                                         ": its value must be one line of at most "
                                         "1000 bytes"));
    }
    plan.add(Stage::readonly,
             {.kind = OpKind::kSysctl, .s1 = plan.str(path), .s2 = plan.str(value)});
  }
  co_return Result<void>();
}
}  // namespace gantry
