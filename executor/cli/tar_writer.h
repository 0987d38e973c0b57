// A directory as a tar stream: pax format with owners, modes, times, hard links, devices and
// extended attributes. Entries come sorted, so that the same tree gives the same bytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::cli {
using TarSink = std::function<Result<void>(std::string_view)>;
// Symbolic links are stored, never followed; sockets are left out, as in every tar.
Result<void> write_tar(const std::string& directory, const TarSink& sink);
}  // namespace gantry::cli
