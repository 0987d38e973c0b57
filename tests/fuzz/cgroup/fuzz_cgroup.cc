// The parsers of what the kernel says of cgroups: total, whatever comes.
#include "base/cgroup_fs.h"
#include "isolators/cgroup_controllers.h"
#include "isolators/seccomp_profile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const CgroupLayout layout = CgroupLayout::parse(text);
  for (const CgroupHierarchy& hierarchy : layout.hierarchies()) {
    GANTRY_CHECK(hierarchy.path.starts_with('/') && !hierarchy.mount_root.empty());
  }
  for (const auto& [key, path] : parse_proc_cgroup(text)) GANTRY_CHECK(!path.empty());
  for (pid_t pid : parse_pids(text)) GANTRY_CHECK(pid > 0);
  (void)parse_flat_keyed(text);
  parse_cgroup_number(text).ignore("total");
  CpusetIsolator::parse_list(text).ignore("total");
  parse_seccomp_json(text).ignore("total");
  parse_seccomp_text(text).ignore("total");
  return 0;
}
