// Why a container cannot have now what is asked for it.
#pragma once

#include "containerizer/container.h"
#include "isolators/container_cgroups.h"

namespace gantry {
// Errc::busy while it is being removed.
Result<void> require_kept(const Container& container);
// Errc::busy, too, unless it was created or has ended.
Result<void> require_startable(const Container& container);
// Errc::conflict where a name looks like the id of another one: it would hide that from whoever
// writes the id.
Result<void> require_no_id(const std::vector<std::shared_ptr<Container>>& all,
                           std::string_view name, const ContainerId& own);
// A launch's EAGAIN, or Errc::exhausted, with the limit of processes that it met: the container's,
// or that of a cgroup parent. `error` itself where it is another one's.
Error name_process_limit(const ContainerCgroups& cgroups, const Container& container, Error error);
}  // namespace gantry
