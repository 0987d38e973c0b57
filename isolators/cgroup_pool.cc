#include "isolators/cgroup_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>

#include "base/cgroup_fs.h"
#include "base/sys.h"

namespace gantry {
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
    // KERNEL: kernfs refuses an existing target, other than rename(2) of ordinary directories.
    if (::renameat(fd, slot.name.c_str(), fd, name.c_str()) != 0) {
      if (errno == EEXIST) {
        slots.push_back(std::move(slot));
        return Error(Errc::already_exists, cat("cgroup ", name, " exists"));
      }
      continue;  // somebody removed it under us: try the next
    }
    if (!slot.tasks.valid()) slot.tasks = GANTRY_TRY(cgroup::open_join_at(fd, name, false));
    return std::optional<UniqueFd>(std::move(slot.tasks));
  }
  return std::optional<UniqueFd>();
}

bool CgroupPool::give_back(size_t parent, const std::string& name) {
  if (!parents_[parent].is_reusable || slots_[parent].size() >= size_) return false;
  const int fd = parents_[parent].containers_fd;
  // A task may have made cgroups of its own in it; those go with the ordinary removal.
  auto link_count = sys::stat_at(fd, name.c_str());
  if (!link_count || link_count->st_nlink > 2) return false;
  std::string own = next_name();
  if (::renameat(fd, name.c_str(), fd, own.c_str()) != 0) return false;
  slots_[parent].push_back({std::move(own), UniqueFd()});
  return true;
}

bool CgroupPool::is_low() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (parents_[i].containers_fd >= 0 && slots_[i].size() < size_ / 2) return true;
  }
  return false;
}

void CgroupPool::refill() {
  if (is_filling_ || size_ == 0) return;
  bool is_full = true;
  for (size_t i = 0; i < slots_.size(); ++i) {
    is_full = is_full && (parents_[i].containers_fd < 0 || slots_[i].size() >= size_);
  }
  if (is_full) return;
  is_filling_ = true;
  scope_.spawn(fill());
}

Co<void> CgroupPool::fill() {
  // One directory of one hierarchy at a time: the kernel has one lock for all of them, and a launch
  // that comes meanwhile must not wait for a long queue.
  // Launches come in bursts: what is left is used first, in peace.
  if (!is_low()) co_await sleep_for(std::chrono::milliseconds(20));
  for (bool is_full = false; !is_full && !co_await is_cancelled();) {
    is_full = true;
    for (size_t parent = 0; parent < parents_.size() && !co_await is_cancelled(); ++parent) {
      if (parents_[parent].containers_fd < 0 || slots_[parent].size() >= size_) continue;
      std::string name = next_name();
      const Parent* from = &parents_[parent];
      auto made = co_await offload([from, name] { return make(*from, name); });
      if (!made) {  // a host at its limit of cgroups: launches go on without a pool
        is_filling_ = false;
        co_return;
      }
      slots_[parent].insert(slots_[parent].begin(), std::move(*made));
      is_full = is_full && slots_[parent].size() >= size_;
    }
  }
  is_filling_ = false;
}

Co<void> CgroupPool::close() {
  co_await scope_.close();
  for (size_t parent = 0; parent < parents_.size(); ++parent) {
    for (const Slot& slot : std::exchange(slots_[parent], {})) {
      ::unlinkat(parents_[parent].containers_fd, slot.name.c_str(), AT_REMOVEDIR);
    }
  }
}

Result<void> CgroupPool::sweep(int containers_fd) {
  for (const std::string& name : GANTRY_TRY(cgroup::children_at(containers_fd, ""))) {
    if (is_pool_name(name)) ::unlinkat(containers_fd, name.c_str(), AT_REMOVEDIR);
  }
  return {};
}
}  // namespace gantry
