// Registrations: copies of the records of those containers that a reboot shall not make forgotten
// (with a name or a restart policy), under DATA/registrations/containers, safe from a power cut.
//
// Threads: every function blocks for a disk: run them on the offload pool. Failure: a damaged one
// is set aside and named; the rest goes on.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace gantry {
Result<void> write_registration(const std::string& data_dir, const std::string& name,
                                const std::string& record);
// Nothing where there is none.
Result<void> remove_registration(const std::string& data_dir, const std::string& name);

struct Registrations {
  std::vector<std::string> records;
  std::vector<std::string> damaged;  // paths they were moved to
};
Result<Registrations> read_registrations(const std::string& data_dir);
}  // namespace gantry
