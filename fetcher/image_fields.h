// Image configurations as Fields: in gantry-worker's answers and in the store's records.
#pragma once

#include "api/oci/commit.h"
#include "api/oci/image.h"
#include "base/result.h"
#include "fetcher/worker_message.h"

namespace gantry {
void add_image_config(Fields& to, const oci::ImageConfig& config);
void add_image_changes(Fields& to, const oci::ImageChanges& changes);
oci::ImageChanges image_changes_from(const Fields& from);
Result<oci::ImageConfig> image_config_from(const Fields& from);
}  // namespace gantry
