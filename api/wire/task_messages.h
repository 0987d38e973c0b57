// Resources and task statuses as Mesos' messages. Thread-safe: no state.
#pragma once

#include "api/proto/common.pb.h"
#include "api/types/task.h"

namespace gantry::wire {
// Allocated to the role "*", as in an offer.
void write_resources(const ResourceAmounts& amounts,
                     google::protobuf::RepeatedPtrField<Resource>& out);
void write_status(const gantry::TaskStatus& status, gantry::wire::TaskStatus& out);
}  // namespace gantry::wire
