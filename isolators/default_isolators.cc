#include "isolators/default_isolators.h"

#include "isolators/cgroup_controllers.h"
#include "isolators/memory_isolator.h"
#include "isolators/plan_isolators.h"
#include "isolators/seccomp_isolator.h"

namespace gantry {
CgroupOptions default_cgroup_options(std::string root, CgroupOptions::Base base) {
  CgroupOptions out;
  out.root = std::move(root);
  out.base = base;
  out.pool_size = 16;
  out.v1_defaults = DevicesIsolator::v1_defaults();
  return out;
}

// ORDER of prepare (cleanup is the reverse):
//  - cgroups before the controllers, which write into its directories, and removed after them;
//  - process_defaults first among those of lockdown, seccomp last: what it forbids is done by then;
//  - rootfs before volumes: both add to Stage::root, and a volume needs the root to be there.
std::vector<std::unique_ptr<Isolator>> make_default_isolators(asio::any_io_executor executor,
                                                              ContainerCgroups& cgroups) {
  std::vector<std::unique_ptr<Isolator>> out;
  out.push_back(std::make_unique<CgroupsIsolator>(cgroups));
  out.push_back(std::make_unique<CpuIsolator>(cgroups));
  out.push_back(std::make_unique<CpusetIsolator>(cgroups));
  out.push_back(std::make_unique<MemoryIsolator>(executor, cgroups));
  out.push_back(std::make_unique<PidsIsolator>(cgroups));
  out.push_back(std::make_unique<DevicesIsolator>(cgroups));
  out.push_back(std::make_unique<IoIsolator>(cgroups));
  out.push_back(std::make_unique<ProcessDefaultsIsolator>());
  out.push_back(std::make_unique<NamespacesIsolator>());
  out.push_back(std::make_unique<RootfsIsolator>());
  out.push_back(std::make_unique<VolumesIsolator>());
  out.push_back(std::make_unique<SysctlsIsolator>());
  out.push_back(std::make_unique<CapabilitiesIsolator>());
  out.push_back(std::make_unique<SeccompIsolator>(executor));
  return out;
}
}  // namespace gantry
