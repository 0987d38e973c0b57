// Cgroups with those below them. A task may nest deeper than a path is long (4,096 bytes) and than
// any stack of ours: directories are walked by descriptor, one at a time, and left through "..".
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "base/backoff.h"
#include "base/cgroup_fs.h"
#include "base/directory.h"
#include "base/process_stat.h"
#include "base/sys.h"

namespace gantry::cgroup {
namespace {
// What is removed in one go: about a millisecond.
constexpr size_t kAtOnce = 32;

struct Level {
  std::string name;
  std::vector<std::string> left;  // of its directories, to be looked at
};

bool is_gone(const Error& error) { return error.is_errno(ENOENT) || error.is_errno(ENODEV); }

Result<UniqueFd> open_directory(int dir_fd, const std::string& name) {
  return sys::open_at(dir_fd, name.empty() ? "." : name.c_str(), O_RDONLY | O_DIRECTORY);
}

// Removes a directory and those below. One that is busy stays, with those above.
class Removal {
 public:
  Removal(int dir_fd, std::string path) : dir_fd_(dir_fd), path_(std::move(path)) {}
  enum class Went { all, not_all, more };
  // `more`: nothing was busy yet, and there is more to do.
  Result<Went> go_on(size_t most);

 private:
  Result<bool> remove(int parent, const std::string& name);
  Result<void> enter(int parent, std::string name);
  Result<void> leave();

  int dir_fd_;
  std::string path_;
  UniqueFd here_;
  std::vector<Level> levels_;
  bool is_begun_ = false;
  bool all_went_ = true;
};

// False: it is busy.
Result<bool> Removal::remove(int parent, const std::string& name) {
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
  if (errno == EBUSY) return false;
  return Error::from_errno(errno, cat("remove cgroup ", name));
}

Result<void> Removal::enter(int parent, std::string name) {
  auto fd = open_directory(parent, name);
  if (!fd && is_gone(fd.error())) return {};
  if (!fd) return std::move(fd).error();
  auto below = GANTRY_TRY(children_at(fd->get(), ""));
  if (below.empty()) all_went_ = false;  // its own processes keep it
  if (below.empty()) return {};
  here_ = std::move(*fd);
  levels_.push_back({std::move(name), std::move(below)});
  return {};
}

Result<void> Removal::leave() {
  const std::string name = std::move(levels_.back().name);
  levels_.pop_back();
  if (levels_.empty()) {
    all_went_ = GANTRY_TRY(remove(dir_fd_, name)) && all_went_;
    return {};
  }
  here_ = GANTRY_TRY(open_directory(here_.get(), ".."));
  all_went_ = GANTRY_TRY(remove(here_.get(), name)) && all_went_;
  return {};
}

Result<Removal::Went> Removal::go_on(size_t most) {
  if (!std::exchange(is_begun_, true)) {
    if (GANTRY_TRY(remove(dir_fd_, path_))) return Went::all;
    GANTRY_TRY(enter(dir_fd_, path_));
  }
  for (size_t done = 0; !levels_.empty(); ++done) {
    if (done == most) return Went::more;
    std::vector<std::string>& left = levels_.back().left;
    if (left.empty()) {
      GANTRY_TRY(leave());
      continue;
    }
    std::string name = std::move(left.back());
    left.pop_back();
    if (!GANTRY_TRY(remove(here_.get(), name))) GANTRY_TRY(enter(here_.get(), std::move(name)));
  }
  return all_went_ ? Went::all : Went::not_all;
}
}  // namespace

Result<std::vector<std::string>> children_at(int dir_fd, const std::string& path) {
  std::vector<std::string> out;
  auto fd = sys::open_at(dir_fd, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!fd) {
    if (fd.error().is_errno(ENOENT)) return out;
    return std::move(fd).error();
  }
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(fd->get()), ::closedir);
  if (list == nullptr) return Error::from_errno(errno, cat("list cgroup ", path));
  (void)fd->release();
  while (const dirent* entry = GANTRY_TRY(next_entry(list.get()).context("list cgroup ", path))) {
    if (entry->d_type == DT_DIR) out.emplace_back(entry->d_name);
  }
  std::ranges::sort(out);
  return out;
}

namespace {
// The directory and all below, parents first. What goes meanwhile is passed over.
Result<void> walk(int dir_fd, const std::string& path,
                  const std::function<Result<void>(int fd)>& visit) {
  std::vector<Level> levels = {{"", {path}}};
  UniqueFd here = GANTRY_TRY(open_directory(dir_fd, ""));
  while (!levels.empty()) {
    if (levels.back().left.empty()) {
      levels.pop_back();
      if (levels.size() > 1) here = GANTRY_TRY(open_directory(here.get(), ".."));
      if (levels.size() == 1) here = GANTRY_TRY(open_directory(dir_fd, ""));
      continue;
    }
    const std::string name = std::move(levels.back().left.back());
    levels.back().left.pop_back();
    auto fd = open_directory(here.get(), name);
    if (!fd && is_gone(fd.error())) continue;
    if (!fd) return std::move(fd).error();
    GANTRY_TRY(visit(fd->get()));
    here = std::move(*fd);
    levels.push_back({name, GANTRY_TRY(children_at(here.get(), ""))});
  }
  return {};
}
}  // namespace

Result<std::vector<pid_t>> processes_at(int dir_fd, const std::string& path) {
  std::vector<pid_t> out;
  GANTRY_TRY(walk(dir_fd, path, [&out](int fd) -> Result<void> {
    auto text = sys::read_file_at(fd, "cgroup.procs");
    // KERNEL: EOPNOTSUPP in a threaded v2 cgroup; its processes are listed by the domain above.
    if (!text && !is_gone(text.error()) && !text.error().is_errno(EOPNOTSUPP)) {
      return std::move(text).error();
    }
    const auto pids = text ? parse_pids(*text) : std::vector<pid_t>();
    out.insert(out.end(), pids.begin(), pids.end());
    return {};
  }));
  return out;
}

void thaw_tree_at(int dir_fd, const std::string& path) {
  const auto thaw = [](int fd) -> Result<void> {
    write_at(fd, "", "freezer.state", "THAWED").ignore("the caller looks who is left");
    return {};
  };
  walk(dir_fd, path, thaw).ignore("the caller looks who is left");
}

namespace {
// Of many the one that holds up the others: the first that no signal reaches.
pid_t most_telling(const std::vector<pid_t>& pids) {
  constexpr size_t kMostLooks = 256;
  for (size_t i = 0; i < std::min(pids.size(), kMostLooks); ++i) {
    const Result<ProcessStat> stat = process_stat(pids[i]);
    if (stat && stat->state == 'D') return pids[i];
  }
  return pids.front();
}
}  // namespace

std::string name_processes(int dir_fd, const std::string& path) {
  auto pids = processes_at(dir_fd, path);
  if (!pids || pids->empty()) return "no process, but the kernel still holds it";
  const pid_t pid = most_telling(*pids);
  std::string text =
      cat(pids->size(), pids->size() == 1 ? " process" : " processes", " left: pid ", pid);
  if (auto comm = sys::read_file(cat("/proc/", pid, "/comm"), 64)) {
    text += cat(" (", trim(*comm), ")");
  }
  return text + describe_wait(pid);
}

Result<bool> is_empty_at(int dir_fd, const std::string& path, bool is_v2) {
  if (!is_v2) return GANTRY_TRY(processes_at(dir_fd, path)).empty();
  auto events = read_at(dir_fd, path, "cgroup.events");
  if (!events && is_gone(events.error())) return true;
  if (!events) return std::move(events).error();
  const auto values = parse_flat_keyed(*events);
  const auto populated = values.find("populated");
  return populated != values.end() && populated->second == 0;
}

Result<bool> try_remove_tree_at(int dir_fd, const std::string& path) {
  return GANTRY_TRY(Removal(dir_fd, path).go_on(kAtOnce)) == Removal::Went::all;
}

Co<Result<void>> remove_tree_at(int dir_fd, std::string path, Duration limit) {
  Backoff backoff(limit);
  do {
    Removal removal(dir_fd, path);
    auto went = GANTRY_CO_TRY(removal.go_on(kAtOnce));
    while (went == Removal::Went::more) {
      co_await asio::post(asio::use_awaitable);
      went = GANTRY_CO_TRY(removal.go_on(kAtOnce));
    }
    if (went == Removal::Went::all) co_return Result<void>();
  } while (co_await backoff.again());
  co_return Error(Errc::busy, cat("remove cgroup ", path, ": ", name_processes(dir_fd, path)));
}
}  // namespace gantry::cgroup
