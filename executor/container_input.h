// A container's standard input, attached to one client at a time.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "containerizer/containerizer.h"
#include "executor/operator_backend.h"

namespace gantry {
// `attached` holds the ids whose input is taken; the sink frees its own when it goes.
// Errc::conflict while another client has it; Errc::not_found when stdin was not asked for at
// launch or is closed.
Co<Result<std::unique_ptr<InputSink>>> open_container_input(LaunchBackend& backend,
                                                            ContainerPtr container,
                                                            std::set<std::string>& attached);
}  // namespace gantry
