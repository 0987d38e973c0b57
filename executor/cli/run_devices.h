// Devices of `gantry run`: which a container has, and how fast it may use disks.
#pragma once

#include "executor/cli/json.h"
#include "executor/cli/run_request.h"

namespace gantry::cli {
// The member "devices" of a spec: --device, or with --privileged all of this host.
Result<void> write_devices(JsonWriter& json, const RunOptions& options);
// Members of its "resources": weights, throttles, and rules for devices.
Result<void> write_device_limits(JsonWriter& json, const RunOptions& options);
}  // namespace gantry::cli
