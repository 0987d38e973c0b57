// A program of ours in a sealed memfd: what runs is what was read, whatever becomes of its file,
// and nobody who runs it can write it.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// Named as its file is.
Result<UniqueFd> seal_program(const std::string& path);
// What names its content, in 16 characters; only ever compared.
Result<std::string> build_of(const UniqueFd& program);
// Writes it into `target`.
Result<void> copy_program(const UniqueFd& program, int target);
}  // namespace gantry
