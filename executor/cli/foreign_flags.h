// Flags of docker and podman that a command here does not have, and what to do instead; beside
// those that the command itself knows of.
#pragma once

#include <span>
#include <string_view>

#include "executor/cli/flags.h"

namespace gantry::cli {
std::span<const ForeignFlag> foreign_flags(std::string_view command);
}  // namespace gantry::cli
