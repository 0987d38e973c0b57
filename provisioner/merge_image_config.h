// What a container's spec takes over from its image, as docker does.
#pragma once

#include "api/oci/image.h"
#include "api/types/container_spec.h"
#include "base/result.h"

namespace gantry {
// Fills in what the spec leaves open. Command: an entrypoint in the spec replaces the image's
// entrypoint and cmd; arguments in the spec replace cmd. Environment: the image's, then the spec's;
// PATH gets a default. Working directory, user, stop signal: the spec's if given. Volumes the spec
// does not mount become MountSpec::Type::volume. Labels are not taken over: an image's labels are
// never a container's. Errc::invalid names the image's field that is unusable, or that no command
// is left to run.
Result<void> merge_image_config(ContainerSpec& spec, const oci::ImageConfig& image);
}  // namespace gantry
