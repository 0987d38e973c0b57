// SnapshotBackend: writable roots over unpacked layers. It makes and removes directories and
// describes what to mount; it never mounts (mounts are made inside the container's namespace).
//
// Lifecycle of a snapshot: prepare() → used by one container at a time → remove(). Layers are
// shared, read-only, and not the back end's to remove; they are kept in overlayfs' format (a
// removed name is a character device 0:0, an opaque directory has trusted.overlay.opaque=y).
// Recovery: list() names what is on disk; whoever knows the live containers removes the rest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "fetcher/tree_jobs.h"
#include "launcher/isolator.h"

namespace gantry {
// What a snapshot stands on.
struct SnapshotParent {
  std::vector<std::string> layers;  // absolute directories, top first; at least one
  mode_t root_mode = 0755;          // of the top layer's root directory
  uid_t root_uid = 0;
  gid_t root_gid = 0;
};

class SnapshotBackend {
 public:
  virtual ~SnapshotBackend() = default;
  virtual std::string_view name() const = 0;
  // A new writable root. Errc::already_exists when the key is taken. On failure nothing is left.
  // Keys are directory names without '/', not "." or "..", at most 200 bytes.
  virtual Co<Result<Rootfs>> prepare(std::string key, SnapshotParent parent) = 0;
  // The description of an existing snapshot, for a container that starts again. Errc::not_found.
  virtual Co<Result<Rootfs>> open(std::string key, SnapshotParent parent) = 0;
  // A root to look into that nothing writes to; leaves no trace but what remove(key) takes away.
  virtual Co<Result<Rootfs>> view(std::string key, SnapshotParent parent) = 0;
  // Gone after; a missing key is success. Returns before a large tree is off the disk, not before
  // its name is free again.
  virtual Co<Result<void>> remove(std::string key) = 0;
  // What the snapshot itself takes (without shared layers). Errc::not_found.
  virtual Co<Result<TreeUsage>> usage(std::string key) = 0;
  virtual Result<std::vector<std::string>> list() = 0;
};
}  // namespace gantry
