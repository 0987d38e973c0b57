#include "isolators/cgroup_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>

#include "base/cgroup_fs.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr auto kPause = std::chrono::milliseconds(20);
constexpr size_t kMostDiscarded = 128;  // a burst of some 30 containers
}  // namespace

Result<void> apply_default(int containers_fd, const std::string& name, const CgroupDefault& value) {
  if (value.kind == CgroupDefault::Kind::write) {
    return cgroup::write_at(containers_fd, name, value.file, value.value);
  }
  const std::string now = GANTRY_TRY(cgroup::read_at(containers_fd, name, value.file));
  if (now == value.value) return {};
  return Error(Errc::conflict,
               cat(value.file, " of a new cgroup reads '", now.substr(0, 200), "'"));
}

CgroupPool::CgroupPool(asio::any_io_executor executor, std::vector<Parent> parents, size_t size)
    : parents_(std::move(parents)),
      slots_(parents_.size()),
      size_(size),
      prefix_("pool." + sys::random_hex(6) + "-"),
      scope_(std::move(executor)) {}

std::string CgroupPool::next_name() { return cat(prefix_, next_++); }

Result<CgroupPool::Slot> CgroupPool::make(const Parent& parent, std::string name) {
  GANTRY_TRY(cgroup::create_at(parent.containers_fd, name));
  for (const CgroupDefault& value : parent.defaults) {
    auto written = apply_default(parent.containers_fd, name, value);
    if (!written) {
      ::unlinkat(parent.containers_fd, name.c_str(), AT_REMOVEDIR);
      return std::move(written).error();
    }
  }
  auto tasks = cgroup::open_join_at(parent.containers_fd, name, false);
  if (!tasks) {
    ::unlinkat(parent.containers_fd, name.c_str(), AT_REMOVEDIR);
    return std::move(tasks).error();
  }
  return Slot{std::move(name), std::move(*tasks)};
}

Result<std::optional<UniqueFd>> CgroupPool::take(size_t parent, const std::string& name) {
  auto& slots = slots_[parent];
  const int fd = parents_[parent].containers_fd;
  while (!slots.empty()) {
    Slot slot = std::move(slots.back());
    slots.pop_back();
    last_use_ = std::chrono::steady_clock::now();
    // KERNEL: kernfs refuses an existing target, other than rename(2) of ordinary directories.
    if (::renameat(fd, slot.name.c_str(), fd, name.c_str()) != 0) {
      if (errno == EEXIST) {
        slots.push_back(std::move(slot));
        return Error(Errc::already_exists, cat("cgroup ", name, " exists"));
      }
      // Somebody removed it under us, or it goes now: try the next.
      ::unlinkat(fd, slot.name.c_str(), AT_REMOVEDIR);
      continue;
    }
    if (!slot.tasks.valid()) slot.tasks = GANTRY_TRY(cgroup::open_join_at(fd, name, false));
    return std::optional<UniqueFd>(std::move(slot.tasks));
  }
  return std::optional<UniqueFd>();
}

std::string CgroupPool::rename_to_own(size_t parent, const std::string& name) {
  const int fd = parents_[parent].containers_fd;
  auto link_count = sys::stat_at(fd, name.c_str());
  if (!link_count || link_count->st_nlink > 2) return "";
  std::string own = next_name();
  return ::renameat(fd, name.c_str(), fd, own.c_str()) == 0 ? own : "";
}

bool CgroupPool::give_back(size_t parent, const std::string& name) {
  if (!parents_[parent].is_reusable || slots_[parent].size() >= size_) return false;
  std::string own = rename_to_own(parent, name);
  if (own.empty()) return false;
  slots_[parent].push_back({std::move(own), UniqueFd()});
  return true;
}

bool CgroupPool::discard(size_t parent, const std::string& name) {
  if (size_ == 0 || discarded_.size() >= kMostDiscarded) return false;
  // KERNEL: unlike rmdir, rename takes a v1 directory with members.
  const auto members = cgroup::read_at(parents_[parent].containers_fd, name, "cgroup.procs");
  if (!members || !members->empty()) return false;
  std::string own = rename_to_own(parent, name);
  if (own.empty()) return false;
  discarded_.push_back({parent, std::move(own)});
  last_use_ = std::chrono::steady_clock::now();
  return true;
}

bool CgroupPool::is_low() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (parents_[i].containers_fd >= 0 && slots_[i].size() < size_ / 2) return true;
  }
  return false;
}

bool CgroupPool::is_full() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (parents_[i].containers_fd >= 0 && slots_[i].size() < size_) return false;
  }
  return true;
}

void CgroupPool::refill() {
  if (is_tending_ || size_ == 0 || (is_full() && discarded_.empty())) return;
  is_tending_ = true;
  scope_.spawn(tend());
}

Co<void> CgroupPool::tend() {
  // Launches come in bursts: what is left is used first, in peace.
  if (!is_low()) co_await sleep_for(kPause);
  co_await fill();
  co_await clear_discarded();
  is_tending_ = false;
}

// One directory of one hierarchy at a time: the kernel has one lock for all of them, and a launch
// that comes meanwhile must not wait for a long queue.
Co<void> CgroupPool::fill() {
  while (!is_full() && !co_await is_cancelled()) {
    for (size_t parent = 0; parent < parents_.size() && !co_await is_cancelled(); ++parent) {
      if (parents_[parent].containers_fd < 0 || slots_[parent].size() >= size_) continue;
      std::string name = next_name();
      const Parent* from = &parents_[parent];
      auto made = co_await offload([from, name] { return make(*from, name); });
      if (!made) co_return;  // a host at its limit of cgroups: launches go on without a pool
      slots_[parent].insert(slots_[parent].begin(), std::move(*made));
    }
  }
}

Co<void> CgroupPool::wait_for_pause() {
  for (;;) {
    const auto left = last_use_ + kPause - std::chrono::steady_clock::now();
    if (left <= left.zero() || co_await is_cancelled()) co_return;
    co_await sleep_for(left);
  }
}

Co<void> CgroupPool::clear_discarded() {
  for (size_t left = discarded_.size(); left > 0; --left) {
    co_await wait_for_pause();
    if (discarded_.empty() || co_await is_cancelled()) co_return;
    Discarded next = std::move(discarded_.front());
    discarded_.erase(discarded_.begin());
    const int fd = parents_[next.parent].containers_fd;
    const bool is_gone = co_await offload([fd, name = next.name] {
      return ::unlinkat(fd, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
    });
    // A zombie that nobody has reaped is no member, and still keeps it busy.
    if (!is_gone) discarded_.push_back(std::move(next));
  }
}

Co<void> CgroupPool::close() {
  co_await scope_.close();
  for (size_t parent = 0; parent < parents_.size(); ++parent) {
    for (const Slot& slot : std::exchange(slots_[parent], {})) {
      ::unlinkat(parents_[parent].containers_fd, slot.name.c_str(), AT_REMOVEDIR);
    }
  }
  for (const Discarded& one : std::exchange(discarded_, {})) {
    ::unlinkat(parents_[one.parent].containers_fd, one.name.c_str(), AT_REMOVEDIR);
  }
}

Result<void> CgroupPool::sweep(int containers_fd) {
  for (const std::string& name : GANTRY_TRY(cgroup::children_at(containers_fd, ""))) {
    if (is_pool_name(name)) ::unlinkat(containers_fd, name.c_str(), AT_REMOVEDIR);
  }
  return {};
}
}  // namespace gantry
