// The daemon's answers as messages of the operator API.
#pragma once

#include "api/proto/agent.pb.h"
#include "executor/operator_backend.h"

namespace gantry {
wire::agent::GantryExit exit_to_wire(const ExitOutcome& outcome);
// exit_status, and for what Mesos has words for: state, reason, message.
void wait_to_wire(const ExitOutcome& outcome, wire::agent::Response::WaitContainer& out);
void wait_to_wire(const ExitOutcome& outcome, wire::agent::Response::WaitNestedContainer& out);
wire::agent::GantryContainer summary_to_wire(const ContainerSummary& summary);
void details_to_wire(const ContainerDetails& details,
                     wire::agent::Response::GantryInspectResponse& out);
wire::ResourceStatistics usage_to_wire(const Usage& usage, double timestamp);
wire::agent::GantryImage image_to_wire(const ImageSummary& image);
wire::agent::Response::GetContainers::Container container_to_wire(const ContainerSummary& summary,
                                                                  const Usage* usage,
                                                                  double timestamp);
wire::FileInfo file_to_wire(const FileEntry& entry);
}  // namespace gantry
