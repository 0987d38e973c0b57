// A container's record: RUNTIME/containers/NAME/record, what a new executor adopts it from.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "containerizer/container.h"

namespace gantry {
// What a record holds, read back.
struct ContainerRecord {
  ContainerId id;
  ContainerState state;
  std::string request_bytes;
  int64_t created_ns, started_ns, exited_ns;
  std::optional<ProcessIdentity> process;
  std::optional<ExitOutcome> outcome;
  Rootfs rootfs;
  Credentials credentials;
  std::string image_digest, hostname;
  std::map<std::string, std::string> isolators;
  std::vector<PhaseTime> phases;
  bool is_session;
  uint32_t restarts;
  bool was_stopped, ran_before, restart_wanted, was_created;
};

std::string serialize_record(const Container& container,
                             const std::map<std::string, std::string>& isolators);
// Errc::corrupt names what does not parse.
Result<ContainerRecord> parse_record(std::string_view bytes);
}  // namespace gantry
