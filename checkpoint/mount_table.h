// The mounts of a process as /proc/PID/mountinfo shows them, and which of them belong to the host.
//
// Pure: parses text, decides, opens nothing.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "checkpoint/checkpointer.h"

namespace gantry {
struct MountEntry {
  int id = 0;
  int parent = 0;
  std::string device;      // "8:1"
  std::string root;        // the part of the file system that is mounted
  std::string mountpoint;  // as the process sees it
  std::string type;
};

// Errc::corrupt names the line.
Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text);

// A mount that CRIU must be told about because its contents are not the container's.
struct ExternalMount {
  std::string mountpoint;
  std::string name;      // what CRIU's images call it
  std::string source;    // host path
  bool is_mask = false;  // /dev/null over a file: needs no permission
};

// The external mounts of a container: those on a file system that the host has mounted too, except
// the root and the kernel's own kinds (proc, sysfs …), which CRIU makes anew. Each must be covered
// by `declared` (itself, or below it: a recursive bind) or be a masked file (/dev/null), and what
// is the container's own must be a tmpfs; Errc::unsupported names the first that is not.
Result<std::vector<ExternalMount>> find_external_mounts(const std::vector<MountEntry>& container,
                                                        const std::set<std::string>& host_devices,
                                                        const std::vector<HostMount>& declared);

// Where on the host the mount at `mountpoint` comes from, by the same rule; empty: nothing declared
// covers it.
std::string source_of(std::string_view mountpoint, const std::vector<HostMount>& declared);
}  // namespace gantry
