// Files of a container's sandbox by virtual path, /containers/ID/NAME…: READ_FILE and LIST_FILES.
#pragma once

#include <string>
#include <vector>

#include "containerizer/containerizer.h"
#include "executor/operator_backend.h"

namespace gantry {
// At most 64 KiB a call, as Mesos' 16 pages. Never follows a link out of the sandbox; only regular
// files.
Result<FilePiece> read_container_file(const Containerizer& containerizer, const std::string& path,
                                      uint64_t offset, uint64_t length);
Result<std::vector<FileEntry>> list_container_files(const Containerizer& containerizer,
                                                    const std::string& path);
}  // namespace gantry
