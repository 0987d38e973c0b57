// Cgroups at the level of kernel files: which hierarchies are mounted (v1, v2 or both), and what
// one does with a directory of one of them (docs/adr/0005). Knows nothing of containers.
//
// Threads: any; nothing here keeps state. Coroutines run on the caller's loop.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry {
// A mounted hierarchy.
struct CgroupHierarchy {
  std::string path;        // where it is mounted
  std::string mount_root;  // which of its cgroups is mounted there, "/" usually
  bool is_v2 = false;
  // v1: "cpu", "cpuacct" or "name=systemd"; v2: what cgroup.controllers of the mount says.
  std::vector<std::string> controllers;
  bool has(std::string_view controller) const;
};

class CgroupLayout {
 public:
  enum class Kind { none, v1, v2, hybrid };
  // From /proc/self/mountinfo and the mounts' cgroup.controllers.
  static Result<CgroupLayout> detect();
  // Total: lines that are no cgroup mounts, or do not parse, are passed over. The same hierarchy
  // mounted twice counts once (the mount with the widest view). v2 controllers stay empty.
  static CgroupLayout parse(std::string_view mountinfo);

  Kind kind() const;
  const std::vector<CgroupHierarchy>& hierarchies() const { return hierarchies_; }
  const CgroupHierarchy* find(std::string_view controller) const;
  const CgroupHierarchy* unified() const;

 private:
  std::vector<CgroupHierarchy> hierarchies_;
};
std::string_view to_string(CgroupLayout::Kind kind);

// The lines of /proc/PID/cgroup: "cpu,cpuacct" (or "name=systemd", or "" for v2) to its path. A
// path may hold colons. Total.
std::map<std::string, std::string> parse_proc_cgroup(std::string_view text);
// One pid a line; other lines are passed over. A process outside our pid namespace reads as 0 and
// is left out.
std::vector<pid_t> parse_pids(std::string_view text);
// "key value" lines (memory.stat, cpu.stat, cgroup.events); "max" is UINT64_MAX, others are passed
// over.
std::map<std::string, uint64_t> parse_flat_keyed(std::string_view text);
// "12\n" or "max\n"; Errc::corrupt otherwise.
Result<uint64_t> parse_cgroup_number(std::string_view text);
std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);

// Directories below `dir_fd`/`path` are named relative to a directory held open by the caller, so
// that an operation costs one short lookup. `path` "" is dir_fd itself.
namespace cgroup {
// Fails with Errc::already_exists where there is one.
Result<void> create_at(int dir_fd, const std::string& path);
Result<void> ensure_at(int dir_fd, const std::string& path);
Result<std::string> read_at(int dir_fd, const std::string& path, std::string_view file);
Result<uint64_t> read_number_at(int dir_fd, const std::string& path, std::string_view file);
// Errors name file and value.
Result<void> write_at(int dir_fd, const std::string& path, std::string_view file,
                      std::string_view value);
// And reads it back: the kernel may have rounded or clamped what was asked (Errc::conflict).
Result<void> write_checked_at(int dir_fd, const std::string& path, std::string_view file,
                              std::string_view value);
// The file a single-threaded child writes "0" to, to move itself.
// KERNEL: v1 `tasks` for the calling thread skips cgroup_threadgroup_rwsem (0.02 ms instead of 13).
Result<UniqueFd> open_join_at(int dir_fd, const std::string& path, bool is_v2);
// Names of the directories in it, sorted. Missing: empty.
Result<std::vector<std::string>> children_at(int dir_fd, const std::string& path);
// The processes in it and below. Missing: empty.
Result<std::vector<pid_t>> processes_at(int dir_fd, const std::string& path);
// "2 processes left: pid 12 (sleep)", for errors.
std::string name_processes(int dir_fd, const std::string& path);
// Whether there are none; on v2 one look, however much is below.
Result<bool> is_empty_at(int dir_fd, const std::string& path, bool is_v2);

// Removes the directory and those below, bottom-up, retrying EBUSY with growing pauses for up to
// `limit` (processes that are just dying; Mesos saw 100 to 200 ms). Missing is success; Errc::busy
// afterwards, naming a process that is still there.
Co<Result<void>> remove_tree_at(int dir_fd, std::string path, Duration limit);
// One pass of the same without waiting: false when something was busy, or there was much to do.
Result<bool> try_remove_tree_at(int dir_fd, const std::string& path);

// Freezes all processes in it and below; completes when the kernel says that they are frozen. When
// that takes longer than `limit` it thaws again: Errc::timed_out.
Co<Result<void>> freeze_at(int dir_fd, std::string path, bool is_v2, Duration limit);
Co<Result<void>> thaw_at(int dir_fd, std::string path, bool is_v2, Duration limit);
// v1: thaws it and all below, of which one that was frozen by itself stays so when those above are
// thawed, and a frozen process does not die.
void thaw_tree_at(int dir_fd, const std::string& path);
// SIGKILL to all processes in it and below; asked again until it is empty, for up to `limit`
// (Errc::busy: names what is left). v2: cgroup.kill, frozen or not. v1: freeze, signal, thaw.
Co<Result<void>> kill_at(int dir_fd, std::string path, bool is_v2, Duration limit);
}  // namespace cgroup
}  // namespace gantry
