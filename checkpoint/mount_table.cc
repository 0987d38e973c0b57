#include "checkpoint/mount_table.h"

#include <algorithm>
#include <array>

#include "base/cgroup_fs.h"

namespace gantry {
namespace {
// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

bool is_kernel_kind(std::string_view type) {
  static constexpr std::array<std::string_view, 6> kKinds = {"proc",   "sysfs",  "devpts",
                                                             "mqueue", "cgroup", "cgroup2"};
  return std::find(kKinds.begin(), kKinds.end(), type) != kKinds.end();
}

// Whether `path` is `top` or below it.
bool is_below(std::string_view path, std::string_view top) {
  if (top == "/") return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}
}  // namespace

Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> out;
  for (std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    // id parent device root mountpoint options [tags …] - type source options
    std::vector<std::string_view> fields = split(line, ' ');
    auto dash = std::find(fields.begin(), fields.end(), "-");
    MountEntry entry;
    if (fields.size() < 10 || fields.end() - dash < 3 || dash - fields.begin() < 6 ||
        !parse_number(fields[0], entry.id) || !parse_number(fields[1], entry.parent)) {
      return Error(Errc::corrupt, cat("mountinfo: cannot read the line '", line, "'"));
    }
    entry.device = fields[2];
    entry.root = unescape(fields[3]);
    entry.mountpoint = unescape(fields[4]);
    entry.type = dash[1];
    out.push_back(std::move(entry));
  }
  return out;
}

std::string source_of(std::string_view mountpoint, const std::vector<HostMount>& declared) {
  const HostMount* best = nullptr;
  for (const HostMount& mount : declared) {
    if (is_below(mountpoint, mount.mountpoint) &&
        (best == nullptr || mount.mountpoint.size() > best->mountpoint.size())) {
      best = &mount;
    }
  }
  if (best == nullptr) return {};
  if (mountpoint.size() == best->mountpoint.size()) return best->source;
  std::string_view rest = mountpoint.substr(best->mountpoint == "/" ? 0 : best->mountpoint.size());
  return cat(best->source == "/" ? std::string() : best->source, rest);
}

Result<std::vector<ExternalMount>> find_external_mounts(const std::vector<MountEntry>& container,
                                                        const std::set<std::string>& host_devices,
                                                        const std::vector<HostMount>& declared) {
  std::vector<ExternalMount> out;
  for (const MountEntry& mount : container) {
    if (mount.mountpoint == "/" || is_kernel_kind(mount.type)) continue;
    if (!host_devices.contains(mount.device)) {
      if (mount.type == "tmpfs") continue;
      return Error(Errc::unsupported, cat("the mount at ", mount.mountpoint, " (", mount.type,
                                          ") is of no kind that a checkpoint can hold"));
    }
    std::string source = source_of(mount.mountpoint, declared);
    // A masked file: the host's /dev/null on top of it.
    const bool is_mask = source.empty() && mount.type == "devtmpfs" && mount.root == "/null";
    if (is_mask) source = "/dev/null";
    if (source.empty()) {
      return Error(Errc::unsupported,
                   cat("the mount at ", mount.mountpoint, " (", mount.type,
                       ") comes from the host and the request does not name it"));
    }
    out.push_back({mount.mountpoint, cat("mount-", out.size()), std::move(source), is_mask});
  }
  return out;
}
}  // namespace gantry
