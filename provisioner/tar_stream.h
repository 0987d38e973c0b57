// The client's side of an import: a directory as one POSIX (pax) tar, streamed.
//
// For the command line: base only, no Asio. Owners, modes, times (nanoseconds), hard links,
// symbolic links, device nodes, fifos and extended attributes are kept; sockets are left out; holes
// are sent as zeros. Names are relative ("./" is the directory itself), so that the contents of an
// OCI layout directory and of a root file system are told apart by the executor. Mounts below are
// not entered.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"

namespace gantry {
// `sink` gets pieces of at most 1 MiB; its first error ends the walk and is returned.
Result<void> write_tar_of_directory(int directory_fd,
                                    const std::function<Result<void>(std::string_view)>& sink);
}  // namespace gantry
