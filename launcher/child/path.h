// Paths of the container: each is resolved once, below a descriptor of its root (style: never a
// path string twice).
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>

#include "launcher/child/child.h"
#include "launcher/child/raw.h"

namespace gantry::child {
inline constexpr uint64_t kInRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
inline constexpr uint64_t kInRootNoLinks = kInRoot | RESOLVE_NO_SYMLINKS;

// openat2 below `root`; close-on-exec. -errno on failure.
int64_t open_in_root(int root, const char* path, int flags, uint64_t resolve = kInRoot,
                     uint64_t mode = 0);

enum class Make { kDirectory, kFile };
// Makes what is missing of `path`, component by component, and returns an O_PATH descriptor of it.
// Missing parents get 0755, the last component `mode`; what exists is left alone. Symbolic links on
// the way are followed inside the root only.
int64_t make_in_root(int root, const char* path, Make what, uint32_t mode, bool* made);

// The directory of `path` and its last component (of which nothing is resolved). EINVAL when there
// is none ("/", "..").
int64_t open_parent(State& s, const char* path, char* name, size_t name_size);
// Something was mounted: what a path led to may be covered now.
void forget_parent(State& s);
}  // namespace gantry::child
