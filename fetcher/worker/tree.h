// Walks over trees that a tenant wrote: by descriptor, never following a link, never crossing a
// mount, with bounded descriptors whatever the depth.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry::worker {
// Missing is success; any depth. Errc::busy names the mount point that is in the way.
Result<void> remove_tree(int parent, const std::string& name);
// Everything in the directory, not the directory itself.
Result<void> empty_directory(int directory);

struct TreeSize {
  uint64_t bytes = 0, inodes = 0;
};
Result<TreeSize> measure_tree(int parent, const std::string& name);

// Applies a layer in overlayfs' format to a directory: whiteouts and opaque directories take away,
// the rest is copied with owners, modes, times, links and attributes; reflinked where it can be.
Result<void> copy_layer(int layer, int target);

// File contents with holes; reflink, else copy_file_range, else read and write.
Result<void> copy_contents(int from, int to, int64_t size);

// Attributes that are content. Everything else is policy of a kernel (trusted, security labels,
// overlayfs' own) and is taken from nobody.
bool is_wanted_xattr(std::string_view name);
Result<std::vector<std::pair<std::string, std::string>>> read_xattrs(int fd);
}  // namespace gantry::worker
