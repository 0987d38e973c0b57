// Room: whether the host has what a launch takes. Asked before anything of it is made, so that a
// full host refuses launches with the reason, and keeps what it takes to kill, report and remove.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace gantry {
// Errc::exhausted where the file system of `directory` is all but full; `remedy`: what helps.
Result<void> require_disk(const std::string& directory, const std::string& remedy);

// Errc::exhausted where few descriptors are left: of this process's, or, by what `running`
// containers take, of the logger's.
Result<void> require_descriptors(const std::function<size_t()>& running);

// The limit of this process's open files.
size_t descriptor_limit();
}  // namespace gantry
