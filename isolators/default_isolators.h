// The walls and limits every container gets, in their order (docs: isolators/README.md).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/co.h"
#include "isolators/container_cgroups.h"
#include "launcher/isolator.h"

namespace gantry {
// What ContainerCgroups::open() needs so that the isolators below find their defaults in place: the
// device list of a new v1 cgroup, and the pool of ready directories.
CgroupOptions default_cgroup_options(std::string root,
                                     CgroupOptions::Base base = CgroupOptions::Base::mount);

// cgroups, then cpu, cpuset, memory, pids, devices, io; process defaults; namespaces; root;
// volumes; sysctls; capabilities; seccomp. network/ brings its own, appended by the caller.
// `cgroups` outlives them.
std::vector<std::unique_ptr<Isolator>> make_default_isolators(asio::any_io_executor executor,
                                                              ContainerCgroups& cgroups);
}  // namespace gantry
