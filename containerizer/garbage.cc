#include "containerizer/garbage.h"

#include <sys/statvfs.h>

#include <algorithm>

namespace gantry {
namespace {
using namespace std::chrono_literals;
// Whoever started it may still come for its output, however short the disk is.
constexpr Duration kSpared = 10s;
}  // namespace

Garbage::Garbage(GarbageConfig config, Containerizer& containerizer, asio::any_io_executor executor)
    : config_(std::move(config)), containerizer_(containerizer), scope_(std::move(executor)) {}

Co<void> Garbage::run() {
  const Duration look_every = std::clamp<Duration>(config_.oldest_exited / 10, 1s, 10s);
  while (!co_await is_cancelled()) {
    co_await collect();
    co_await sleep_for(look_every);
  }
}

std::vector<ContainerPtr> Garbage::candidates() const {
  std::vector<ContainerPtr> out;
  for (const ContainerPtr& container : containerizer_.list()) {
    if (container->parent || container->state() != ContainerState::exited) continue;
    if (container->readers > 0 || container->removing || container->restart_due) continue;
    out.push_back(container);
  }
  std::sort(out.begin(), out.end(),
            [](const ContainerPtr& a, const ContainerPtr& b) { return a->ended_at < b->ended_at; });
  return out;
}

bool Garbage::is_disk_short() const {
  struct statvfs disk;
  if (config_.headroom_percent == 0 || ::statvfs(config_.data_dir.c_str(), &disk) != 0) {
    return false;
  }
  const auto is_short = [this](uint64_t left, uint64_t all) {
    return left < all / 100 * static_cast<uint64_t>(config_.headroom_percent);
  };
  // A file system without a fixed number of inodes (btrfs) says 0.
  return is_short(disk.f_bavail, disk.f_blocks) || is_short(disk.f_favail, disk.f_files);
}

Co<void> Garbage::collect() {
  const std::vector<ContainerPtr> exited = candidates();
  size_t left = exited.size();
  for (const ContainerPtr& container : exited) {
    const Duration age = std::chrono::steady_clock::now() - container->ended_at;
    const bool is_old = age > config_.oldest_exited;
    const bool is_spare = age > kSpared && is_disk_short();
    if (!is_old && !is_spare && left <= config_.most_exited) co_return;
    Result<void> removed = co_await containerizer_.remove(container->id, Containerizer::Force::no);
    removed.ignore("tried again at the next look");
    --left;
    if (removed) ++collected_;
    if (co_await is_cancelled()) co_return;
  }
}
}  // namespace gantry
