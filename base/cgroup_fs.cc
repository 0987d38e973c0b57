#include "base/cgroup_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/backoff.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr std::string_view kNotControllers[] = {
    "rw",  "ro",   "xattr",        "clone_children",       "noprefix", "cpuset_v2_mode",
    "all", "none", "favordynmods", "memory_recursiveprot", "seclabel", "nsdelegate"};

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  const auto is_octal = [&](size_t i) { return text[i] >= '0' && text[i] <= '7'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(i + 1) && is_octal(i + 2) &&
        is_octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> v1_controllers(std::string_view super_options) {
  std::vector<std::string> out;
  for (std::string_view option : split(super_options, ',')) {
    if (option.empty() || std::ranges::find(kNotControllers, option) != std::end(kNotControllers)) {
      continue;
    }
    if (option.find('=') != std::string_view::npos && !option.starts_with("name=")) continue;
    out.emplace_back(option);
  }
  return out;
}
}  // namespace

bool CgroupHierarchy::has(std::string_view controller) const {
  return std::ranges::find(controllers, controller) != controllers.end();
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

CgroupLayout CgroupLayout::parse(std::string_view mountinfo) {
  CgroupLayout layout;
  std::map<std::string, size_t> by_device;
  for (std::string_view line : split(mountinfo, '\n')) {
    // 31 30 0:28 / /sys/fs/cgroup/cpu rw,relatime [optional fields] - cgroup cgroup rw,cpu
    const auto fields = split(line, ' ');
    const auto dash = std::ranges::find(fields, std::string_view("-"));
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool is_v2 = dash[1] == "cgroup2";
    if (!is_v2 && dash[1] != "cgroup") continue;
    CgroupHierarchy found{
        .path = unescape(fields[4]),
        .mount_root = unescape(fields[3]),
        .is_v2 = is_v2,
        .controllers = is_v2 ? std::vector<std::string>() : v1_controllers(dash[3])};
    if (found.path.empty() || found.path[0] != '/' || found.mount_root.empty()) continue;
    const auto [known, is_new] = by_device.emplace(fields[2], layout.hierarchies_.size());
    if (is_new) {
      layout.hierarchies_.push_back(std::move(found));
    } else if (found.mount_root.size() < layout.hierarchies_[known->second].mount_root.size()) {
      layout.hierarchies_[known->second] = std::move(found);
    }
  }
  return layout;
}

Result<CgroupLayout> CgroupLayout::detect() {
  CgroupLayout layout = parse(GANTRY_TRY(sys::read_file("/proc/self/mountinfo")));
  for (CgroupHierarchy& hierarchy : layout.hierarchies_) {
    if (!hierarchy.is_v2) continue;
    const std::string text = GANTRY_TRY(sys::read_file(hierarchy.path + "/cgroup.controllers"));
    for (std::string_view name : split(trim(text), ' ')) {
      if (!name.empty()) hierarchy.controllers.emplace_back(name);
    }
  }
  return layout;
}

CgroupLayout::Kind CgroupLayout::kind() const {
  const bool v2 = unified() != nullptr;
  const bool v1 = std::ranges::any_of(hierarchies_, [](const auto& h) { return !h.is_v2; });
  if (v2) return v1 ? Kind::hybrid : Kind::v2;
  return v1 ? Kind::v1 : Kind::none;
}

const CgroupHierarchy* CgroupLayout::find(std::string_view controller) const {
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    if (hierarchy.has(controller)) return &hierarchy;
  }
  return nullptr;
}

const CgroupHierarchy* CgroupLayout::unified() const {
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    if (hierarchy.is_v2) return &hierarchy;
  }
  return nullptr;
}

std::string_view to_string(CgroupLayout::Kind kind) {
  switch (kind) {
    case CgroupLayout::Kind::none:
      return "none";
    case CgroupLayout::Kind::v1:
      return "v1";
    case CgroupLayout::Kind::v2:
      return "v2";
    case CgroupLayout::Kind::hybrid:
      return "hybrid";
  }
  return "none";
}

std::map<std::string, std::string> parse_proc_cgroup(std::string_view text) {
  std::map<std::string, std::string> out;
  for (std::string_view line : split(text, '\n')) {
    const size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos || second + 1 == line.size()) continue;
    out.emplace(line.substr(first + 1, second - first - 1), line.substr(second + 1));
  }
  return out;
}

std::vector<pid_t> parse_pids(std::string_view text) {
  std::vector<pid_t> out;
  for (std::string_view line : split(text, '\n')) {
    pid_t pid = 0;
    if (parse_number(line, pid) && pid > 0) out.push_back(pid);
  }
  return out;
}

std::map<std::string, uint64_t> parse_flat_keyed(std::string_view text) {
  std::map<std::string, uint64_t> out;
  for (std::string_view line : split(text, '\n')) {
    const size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos) continue;
    const std::string_view value = line.substr(space + 1);
    uint64_t number = UINT64_MAX;
    if (value != "max" && !parse_number(value, number)) continue;
    out.emplace(line.substr(0, space), number);
  }
  return out;
}

Result<uint64_t> parse_cgroup_number(std::string_view text) {
  const std::string_view value = trim(text);
  uint64_t number = UINT64_MAX;
  if (value == "max" || value == "-1" || parse_number(value, number)) return number;
  return Error(Errc::corrupt, cat("'", value.substr(0, 64), "' is no number"));
}

namespace cgroup {
namespace {
std::string join(const std::string& path, std::string_view file) {
  return path.empty() ? std::string(file) : cat(path, "/", file);
}

Result<bool> is_frozen_v2(int dir_fd, const std::string& path) {
  const auto events = parse_flat_keyed(GANTRY_TRY(read_at(dir_fd, path, "cgroup.events")));
  const auto frozen = events.find("frozen");
  return frozen != events.end() && frozen->second == 1;
}

Result<void> signal_all(int dir_fd, const std::string& path) {
  for (pid_t pid : GANTRY_TRY(processes_at(dir_fd, path))) {
    // SAFETY: by pid, but the caller has frozen them (or looks again): none of them can have been
    // reaped and its number given away between the list and the signal while frozen.
    if (::kill(pid, SIGKILL) != 0 && errno != ESRCH) {
      return Error::from_errno(errno, cat("kill pid ", pid));
    }
  }
  return {};
}
}  // namespace

Result<void> create_at(int dir_fd, const std::string& path) {
  if (::mkdirat(dir_fd, path.c_str(), 0755) == 0) return {};
  if (errno == EEXIST) return Error(Errc::already_exists, cat("cgroup ", path, " exists"));
  return Error::from_errno(errno, cat("create cgroup ", path));
}

Result<void> ensure_at(int dir_fd, const std::string& path) {
  if (::mkdirat(dir_fd, path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return Error::from_errno(errno, cat("create cgroup ", path));
}

Result<std::string> read_at(int dir_fd, const std::string& path, std::string_view file) {
  return sys::read_file_at(dir_fd, join(path, file).c_str());
}

Result<uint64_t> read_number_at(int dir_fd, const std::string& path, std::string_view file) {
  return parse_cgroup_number(GANTRY_TRY(read_at(dir_fd, path, file))).context("read ", file);
}

Result<void> write_at(int dir_fd, const std::string& path, std::string_view file,
                      std::string_view value) {
  return sys::write_file_at(dir_fd, join(path, file).c_str(), value)
      .context("write '", value, "' to ", file, " of cgroup ", path);
}

Result<void> write_checked_at(int dir_fd, const std::string& path, std::string_view file,
                              std::string_view value) {
  GANTRY_TRY(write_at(dir_fd, path, file, value));
  const std::string text = GANTRY_TRY(read_at(dir_fd, path, file));
  if (trim(text) == value) return {};
  return Error(Errc::conflict, cat(file, " of cgroup ", path, " was set to '", value,
                                   "' and reads '", trim(text).substr(0, 128), "'"));
}

Result<UniqueFd> open_join_at(int dir_fd, const std::string& path, bool is_v2) {
  return sys::open_at(dir_fd, join(path, is_v2 ? "cgroup.procs" : "tasks").c_str(), O_WRONLY);
}

namespace {
Co<Result<void>> freeze_v2(int dir_fd, std::string path, bool frozen, Duration limit) {
  // ORDER: open before the write, so that no notification is missed.
  const UniqueFd events =
      GANTRY_CO_TRY(sys::open_at(dir_fd, join(path, "cgroup.events").c_str(), O_RDONLY));
  const auto end = std::chrono::steady_clock::now() + limit;
  GANTRY_CO_TRY(write_at(dir_fd, path, "cgroup.freeze", frozen ? "1" : "0"));
  while (GANTRY_CO_TRY(is_frozen_v2(dir_fd, path)) != frozen) {
    const Duration left = end - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) {
      co_return Error(Errc::timed_out, cat(frozen ? "freeze" : "thaw", " of cgroup ", path, ": ",
                                           name_processes(dir_fd, path)));
    }
    // The descriptor must have been read once for POLLPRI to be level with what we know.
    char buffer[256];
    (void)!::pread(events.get(), buffer, sizeof buffer, 0);
    if (GANTRY_CO_TRY(is_frozen_v2(dir_fd, path)) == frozen) break;
    const Duration pause = std::min<Duration>(left, std::chrono::milliseconds(200));
    (void)co_await wait_fd(events.get(), Readiness::urgent, pause);
  }
  co_return Result<void>();
}

Co<Result<void>> freeze_v1(int dir_fd, std::string path, bool frozen, Duration limit) {
  const std::string_view wanted = frozen ? "FROZEN" : "THAWED";
  Backoff backoff(limit);
  do {
    // KERNEL: written again each time, because a task forked while freezing may have been missed;
    // reading updates FREEZING to FROZEN once all are.
    GANTRY_CO_TRY(write_at(dir_fd, path, "freezer.state", wanted));
    const std::string state = GANTRY_CO_TRY(read_at(dir_fd, path, "freezer.state"));
    if (trim(state) == wanted) co_return Result<void>();
  } while (co_await backoff.again());
  co_return Error(Errc::timed_out, cat(frozen ? "freeze" : "thaw", " of cgroup ", path, ": ",
                                       name_processes(dir_fd, path)));
}
}  // namespace

Co<Result<void>> freeze_at(int dir_fd, std::string path, bool is_v2, Duration limit) {
  auto done = is_v2 ? co_await freeze_v2(dir_fd, path, true, limit)
                    : co_await freeze_v1(dir_fd, path, true, limit);
  if (!done && !done.error().is_errno(ENOENT)) {
    write_at(dir_fd, path, is_v2 ? "cgroup.freeze" : "freezer.state", is_v2 ? "0" : "THAWED")
        .ignore("the freeze already failed");
  }
  co_return done;
}

Co<Result<void>> thaw_at(int dir_fd, std::string path, bool is_v2, Duration limit) {
  if (is_v2) co_return co_await freeze_v2(dir_fd, path, false, limit);
  co_return co_await freeze_v1(dir_fd, path, false, limit);
}

Co<Result<void>> kill_at(int dir_fd, std::string path, bool is_v2, Duration limit) {
  Backoff backoff(limit);
  do {
    if (GANTRY_CO_TRY(is_empty_at(dir_fd, path, is_v2))) co_return Result<void>();
    if (is_v2) {
      auto asked = write_at(dir_fd, path, "cgroup.kill", "1");
      // KERNEL: cgroup.kill came with 5.14.
      if (!asked && asked.error().is_errno(ENOENT)) asked = signal_all(dir_fd, path);
      if (!asked) co_return asked;
      continue;
    }
    // A fork bomb cannot outrun us while frozen; a freezer that is stuck must not save anybody.
    (co_await freeze_v1(dir_fd, path, true, std::chrono::milliseconds(100))).ignore("next pass");
    auto signalled = signal_all(dir_fd, path);
    thaw_tree_at(dir_fd, path);
    if (!signalled) co_return signalled;
  } while (co_await backoff.again());
  co_return Error(Errc::busy, cat("kill cgroup ", path, ": ", name_processes(dir_fd, path)));
}
}  // namespace cgroup
}  // namespace gantry
