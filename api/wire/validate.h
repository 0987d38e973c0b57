// Checks of single values, each error naming the field and what is legal. Used by parse.cc and by
// the calls that carry no spec. Every rule here is one of reference faults: `..` in paths
// (CVE-2022- 23648), control characters (CVE-2022-4318), ids beyond 32 bits (CVE-2024-40635),
// sysctls of the host (CVE-2022-0811).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::wire {
// The path of a field, kept on the stack and made into text only for an error:
// "launch_container.gantry_spec.mounts[2].source".
class Field {
 public:
  explicit Field(std::string_view name) : name_(name) {}
  Field(const Field& parent, std::string_view name) : parent_(&parent), name_(name) {}
  Field(const Field& parent, int index) : parent_(&parent), index_(index) {}
  Field operator[](int index) const { return {*this, index}; }
  std::string path() const;

 private:
  const Field* parent_ = nullptr;
  std::string_view name_;
  int index_ = -1;
};
inline Field operator/(const Field& parent, std::string_view name) { return {parent, name}; }

// "launch_container.gantry_spec.cwd: must be an absolute path"
Error invalid(const Field& field, std::string_view what);

// Text that ends in an argument list or a file of lines: no NUL, at most `most` bytes.
Result<void> check_text(const Field& field, std::string_view value, size_t most);
// As check_text, and no control characters at all.
Result<void> check_line(const Field& field, std::string_view value, size_t most);
// Absolute, at most 4095 bytes, no "..", no control characters.
Result<void> check_absolute_path(const Field& field, std::string_view value);
// Relative, below its directory.
Result<void> check_relative_path(const Field& field, std::string_view value);
// A place for a mount: as check_absolute_path, not "/", not in /proc (but for lxcfs' files).
Result<void> check_mount_point(const Field& field, std::string_view value);
// [A-Za-z0-9][A-Za-z0-9_-]*, at most 128: also a legal container id, so that it may stand for one.
Result<void> check_container_name(const Field& field, std::string_view value);
Result<void> check_hostname(const Field& field, std::string_view value);
// "web/front": a path of 1 to 8 names, none of them . or ..
Result<void> check_cgroup_parent(const Field& field, std::string_view value);
Result<void> check_ip_address(const Field& field, std::string_view value);
// "name", "uid", "name:group", "uid:gid".
Result<void> check_user(const Field& field, std::string_view value);
Result<void> check_group(const Field& field, std::string_view value);
// "NAME=VALUE"; the name without control characters.
Result<void> check_environment(const Field& field, std::string_view value);
// "80", "80/tcp", "53/udp", "8000-8010/tcp", as an image says it.
Result<void> check_exposed_port(const Field& field, std::string_view value);
Result<void> check_sha256(const Field& field, std::string_view value);
Result<void> check_image_reference(const Field& field, std::string_view value);
// The kernel's list format, "0-1,3".
Result<void> check_cpu_list(const Field& field, std::string_view value);
// Namespaced ones only; `private_network` and `private_ipc`: the container has its own.
Result<void> check_sysctl(const Field& field, std::string_view name, std::string_view value,
                          bool private_network, bool private_ipc);

// "CAP_CHOWN", "chown" …; its bit number.
Result<int> parse_capability(const Field& field, std::string_view name);
// "TERM", "SIGTERM", "15", "RTMIN+3".
Result<int> parse_signal_name(const Field& field, std::string_view text);
// "nofile" …; RLIMIT_NOFILE.
Result<int> parse_rlimit_name(const Field& field, std::string_view name);
// The highest capability this build knows.
int last_capability();
}  // namespace gantry::wire
