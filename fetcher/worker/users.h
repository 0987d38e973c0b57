// A container's user database, read the way docker reads it, except that numbers are never names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_spec.h"
#include "base/result.h"

namespace gantry::worker {
inline constexpr size_t kMaxUserDatabase = 1u << 20;

// passwd, group: the files' contents; empty where they are missing. Damaged lines are skipped.
// Numeric user without an entry: group 0, home "/". Errc::not_found for an unknown name.
Result<Credentials> resolve_user(std::string_view passwd, std::string_view group,
                                 const UserSpec& user);
}  // namespace gantry::worker
