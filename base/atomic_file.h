// Files that are whole or absent: written under a temporary name, renamed into place.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "base/result.h"

namespace gantry {
enum class Durability {
  memory,  // no fsync: for what dies with the kernel (records under /run)
  disk,    // file and directory are fsynced before the call returns: run it on the offload pool
};
// Replaces NAME in the directory. A crash leaves the old content, the new, or a file named
// `.tmp.*` that recovery removes (remove_temporaries).
Result<void> write_file_atomically(int dir_fd, std::string_view name, std::string_view bytes,
                                   Durability durability, mode_t mode = 0600);
Result<void> remove_temporaries(int dir_fd);
}  // namespace gantry
