// From wire messages to validated value types: the one place where input is checked. What comes out
// is legal; what is not is an Errc::invalid whose text begins with the field's path and says what
// is legal. Nothing is created, looked up or opened here.
#pragma once

#include <string>
#include <string_view>

#include "api/proto/agent.pb.h"
#include "api/proto/common.pb.h"
#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "api/wire/validate.h"
#include "base/result.h"

namespace gantry::wire {
// Mesos' rule and Mesos' words: "'launch_container.container_id' is invalid: 'a/b' contains invalid
// characters".
Result<ContainerId> parse_container_id(const Field& field, const ContainerID& in);
ContainerID to_wire(const ContainerId& id);

// A LAUNCH_CONTAINER. Without gantry_spec it means what it means to Mesos: the host's network, cpus
// as shares, mem as limit. `request_bytes` of the result is `in` itself.
Result<ContainerSpec> parse_launch(const Field& field, const agent::Call::LaunchContainer& in);
// ContainerSpec::request_bytes, parsed again: after a restart of the executor.
Result<ContainerSpec> parse_request_bytes(std::string_view request_bytes);
// A nested container that runs `args` and asks for nothing else.
Result<ContainerSpec> command_in(const ContainerId& id, const std::vector<std::string>& args);
// What a container shall be after a GANTRY_UPDATE: the spec of `request_bytes` with its changes.
Result<ContainerSpec> parse_update(std::string_view request_bytes,
                                   const agent::Call::GantryUpdate& in);
// The same without what a GANTRY_UPDATE may change.
std::string unchanging_request(const std::string& request_bytes);
// A command task as the launch that it asks for, under `id`. `default_user` is the framework's.
agent::Call::LaunchContainer launch_of_task(const TaskInfo& task, const ContainerId& id,
                                            const std::string& default_user);
// A launch that says everything a spec says (but for request_bytes). parse_launch gives it back.
agent::Call::LaunchContainer to_launch(const ContainerId& id, const ContainerSpec& spec);

// "Expecting 'wait_container' to be present"
Error expecting(std::string_view field);
}  // namespace gantry::wire
