#include "isolators/memory_isolator.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/sys.h"

namespace gantry {
namespace {
constexpr Bytes kUnlimitedV1 = Bytes{1} << 62;  // what v1 shows for none is near 2^63

std::string in_units(Bytes bytes) {
  constexpr std::pair<int, const char*> kUnits[] = {{30, " GiB"}, {20, " MiB"}, {10, " KiB"}};
  for (const auto& [shift, unit] : kUnits) {
    if (bytes >> shift != 0 && bytes % (Bytes{1} << shift) == 0) return cat(bytes >> shift, unit);
  }
  return cat(bytes, " bytes");
}

// KERNEL: limits are kept in whole pages, rounded down.
Bytes in_pages(Bytes bytes) {
  const Bytes page = static_cast<Bytes>(::sysconf(_SC_PAGESIZE));
  return bytes / page * page;
}
}  // namespace

// In the order that works when nothing was set before; update() tries the reverse too.
Result<std::vector<MemoryIsolator::Setting>> MemoryIsolator::settings(const ResourceSpec& resources,
                                                                      Bytes current_limit) const {
  std::vector<Setting> out;
  const Bytes limit = resources.memory_limit.value_or(current_limit);
  // Docker's default: as much swap as memory.
  std::optional<int64_t> swap = resources.memory_swap;
  if (!swap && resources.memory_limit) swap = static_cast<int64_t>(limit) * 2;
  if (swap && *swap >= 0 && limit == 0) {
    return Error(Errc::invalid,
                 "memory_swap: needs memory_limit, of which it is the sum with swap");
  }
  if (swap && *swap >= 0 && static_cast<Bytes>(*swap) < limit) {
    return Error(Errc::invalid, cat("memory_swap: ", *swap, " is less than memory_limit (", limit,
                                    "), of which it is the sum with swap"));
  }
  const char* limit_file = is_v2() ? "memory.max" : "memory.limit_in_bytes";
  if (resources.memory_limit) out.push_back({limit_file, cat(in_pages(limit)), "memory_limit"});
  if (resources.memory_reservation) {
    out.push_back({is_v2() ? "memory.low" : "memory.soft_limit_in_bytes",
                   cat(in_pages(*resources.memory_reservation)), "memory_reservation"});
  }
  if (swap && is_v2()) {
    out.push_back({"memory.swap.max",
                   *swap < 0 ? "max" : cat(in_pages(static_cast<Bytes>(*swap) - limit)),
                   "memory_swap"});
  } else if (swap) {
    out.push_back({"memory.memsw.limit_in_bytes",
                   *swap < 0 ? "-1" : cat(in_pages(static_cast<Bytes>(*swap))), "memory_swap"});
  }
  return out;
}

Result<void> MemoryIsolator::check(const std::string& name,
                                   const std::vector<Setting>& settings) const {
  for (const Setting& setting : settings) {
    const std::string text = GANTRY_TRY(cgroups_.read(name, "memory", setting.file));
    const bool is_none = setting.value == "-1" || setting.value == "max";
    const uint64_t now = GANTRY_TRY(parse_cgroup_number(text));
    if (is_none ? now >= kUnlimitedV1 : cat(now) == setting.value) continue;
    return Error(Errc::conflict, cat(setting.field, ": ", setting.file, " was set to ",
                                     setting.value, " and reads ", trim(text)));
  }
  return {};
}

Co<Result<void>> MemoryIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  const ResourceSpec& resources = context.spec.resources;
  const std::string name = name_of(context.id);
  const auto wanted = GANTRY_CO_TRY(settings(resources, 0));
  for (const Setting& setting : wanted) {
    auto done = cgroups_.write(name, "memory", setting.file, setting.value);
    // Without swap accounting there is no such file; then there is no swap to limit either.
    const bool is_swap = setting.field == "memory_swap" && !resources.memory_swap;
    if (!done && done.error().is_errno(ENOENT) && is_swap) continue;
    if (!done) co_return std::move(done).context(setting.field);
    GANTRY_CO_TRY(check(name, {setting}));
  }
  note_limits(name, context.spec);
  if (limited_.contains(name)) GANTRY_CO_TRY(register_notice(name).context("memory_limit"));
  co_return Result<void>();
}

void MemoryIsolator::note_limits(const std::string& name, const ContainerSpec& spec) {
  if (spec.resources.memory_limit) limited_[name].bytes = *spec.resources.memory_limit;
  if (!spec.cgroup_parent.empty() && cgroups_.has("memory")) {
    limited_[name].cgroup_parent = spec.cgroup_parent;
  }
}

Co<Result<void>> MemoryIsolator::recover(const std::vector<RecoveredContainer>& known) {
  for (const RecoveredContainer& container : known) {
    if (container.process.pid == 0) continue;
    const std::string name = name_of(container.id);
    note_limits(name, *container.spec);
    if (!limited_.contains(name)) continue;
    // A container that is gone by now has no cgroup to register; its exit is seen elsewhere.
    register_notice(name).ignore("limitation_at_exit still looks");
  }
  co_return Result<void>();
}

Result<void> MemoryIsolator::register_notice(const std::string& name) {
  if (is_v2() || limited_[name].has_notice) return {};
  if (!eventfd_.valid()) {
    eventfd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!eventfd_.valid()) return Error::from_errno(errno, "eventfd for OOM notices");
  }
  // KERNEL: the registration ends with the cgroup, or with the eventfd; neither file stays open.
  const UniqueFd control =
      GANTRY_TRY(cgroups_.open_file(name, "memory", "memory.oom_control", O_RDONLY));
  GANTRY_TRY(cgroups_.write(name, "memory", "cgroup.event_control",
                            cat(eventfd_.get(), " ", control.get())));
  limited_[name].has_notice = true;
  return {};
}

Result<uint64_t> MemoryIsolator::oom_kills(const std::string& name) const {
  const auto counters = parse_flat_keyed(
      GANTRY_TRY(cgroups_.read(name, "memory", is_v2() ? "memory.events" : "memory.oom_control")));
  const auto kills = counters.find("oom_kill");
  return kills == counters.end() ? 0 : kills->second;
}

// Which of the two was reached the kernel does not tell.
std::string MemoryIsolator::Limit::to_string() const {
  const std::string own = bytes == 0 ? "" : in_units(bytes);
  if (cgroup_parent.empty()) return own;
  return cat(own, own.empty() ? "" : " or of ", "cgroup parent ", cgroup_parent);
}

std::optional<Limitation> MemoryIsolator::look(const std::string& name) const {
  const auto limit = limited_.find(name);
  if (limit == limited_.end()) return std::nullopt;
  auto kills = oom_kills(name);
  if (!kills || *kills == 0) return std::nullopt;
  return Limitation{.resource = "memory",
                    .message = cat("memory limit of ", limit->second.to_string(),
                                   " reached: the OOM killer "
                                   "ended ",
                                   *kills == 1 ? "a process" : cat(*kills, " processes"))};
}

Co<Result<void>> MemoryIsolator::listen() {
  is_listening_ = true;
  auto woken = co_await wait_fd(eventfd_.get(), Readiness::read);
  uint64_t notices = 0;
  if (woken && ::read(eventfd_.get(), &notices, sizeof notices) == sizeof notices) {
    // KERNEL: removing a cgroup signals too, once for each registration.
    const uint64_t of_removals = std::min(notices, removals_);
    removals_ -= of_removals;
    notices -= of_removals;
  }
  // KERNEL: the notice comes before the kill that it announces: look again for a while.
  for (int pause_ms : {0, 2, 20, 100}) {
    if (notices == 0) break;
    if (pause_ms > 0) co_await sleep_for(std::chrono::milliseconds(pause_ms));
    bool is_found = false;
    for (auto& [name, limit] : limited_) {
      if (limit.was_hit || !limit.has_notice) continue;
      auto kills = oom_kills(name);
      limit.was_hit = kills && *kills > 0;
      is_found = is_found || limit.was_hit;
    }
    if (is_found) break;
  }
  is_listening_ = false;
  notice_.notify();  // whoever was hit ends; one of the others listens on
  co_return woken;
}

Co<Result<Limitation>> MemoryIsolator::watch_v2(std::string name) {
  const UniqueFd events =
      GANTRY_CO_TRY(cgroups_.open_file(name, "memory", "memory.events", O_RDONLY));
  while (true) {
    char buffer[512];
    (void)!::pread(events.get(), buffer, sizeof buffer, 0);
    if (auto limitation = look(name)) co_return std::move(*limitation);
    GANTRY_CO_TRY(co_await wait_fd(events.get(), Readiness::urgent));
  }
}

Co<Result<Limitation>> MemoryIsolator::watch(ContainerId id) {
  const std::string name = name_of(id);
  if (is_v2()) co_return co_await watch_v2(name);
  while (true) {
    if (auto limitation = look(name)) co_return std::move(*limitation);
    if (co_await is_cancelled() || !limited_.contains(name)) break;
    if (is_listening_) {
      co_await notice_.wait();
    } else {
      (co_await listen()).ignore("cancelled: looked at above; another watcher listens on");
    }
  }
  co_return Error(Errc::cancelled, "the container is no longer watched");
}

Co<std::optional<Limitation>> MemoryIsolator::limitation_at_exit(ContainerId id) {
  co_return look(name_of(id));
}

Co<Result<void>> MemoryIsolator::update(ContainerId id, const ResourceSpec& resources) {
  if (!resources.memory_limit && !resources.memory_reservation && !resources.memory_swap) {
    co_return Result<void>();
  }
  const std::string name = name_of(id);
  const auto known = limited_.find(name);
  const auto wanted =
      GANTRY_CO_TRY(settings(resources, known == limited_.end() ? 0 : known->second.bytes));
  if (is_v2() && resources.memory_limit) {
    // KERNEL: v2 accepts any memory.max, and kills for it; v1 says EBUSY.
    const auto stat = parse_flat_keyed(GANTRY_CO_TRY(cgroups_.read(name, "memory", "memory.stat")));
    const auto anon = stat.find("anon");
    if (anon != stat.end() && anon->second > *resources.memory_limit) {
      co_return Error(Errc::busy, cat("memory_limit: ", in_units(*resources.memory_limit),
                                      " is less than the ", anon->second, " bytes in use"));
    }
  }
  std::vector<Setting> before;
  for (const Setting& setting : wanted) {
    const std::string now = GANTRY_CO_TRY(cgroups_.read(name, "memory", setting.file));
    before.push_back({setting.file, std::string(trim(now)), setting.field});
  }
  const ContainerCgroups::Place at = GANTRY_CO_TRY(cgroups_.place_of(name, "memory"));
  // KERNEL: on v1 memory may never be above memory + swap: raising goes in one order, lowering in
  // the other.
  auto done = co_await offload([at, wanted, before]() -> Result<void> {
    auto write_all = [&](auto begin, auto end) -> Result<void> {
      for (auto setting = begin; setting != end; ++setting) {
        auto written = cgroup::write_at(at.root_fd, at.path, setting->file, setting->value);
        if (!written && written.error().is_errno(EBUSY)) {
          const auto used = cgroup::read_number_at(at.root_fd, at.path, "memory.usage_in_bytes");
          return std::move(written).context(setting->field, ": more is in use",
                                            used ? cat(" (", *used, " bytes)") : "");
        }
        if (!written) return std::move(written).context(setting->field);
      }
      return {};
    };
    auto written = write_all(wanted.begin(), wanted.end());
    if (!written && !written.error().is_errno(EBUSY)) {
      written = write_all(wanted.rbegin(), wanted.rend());
    }
    if (!written) {
      for (int pass = 0; pass < 2; ++pass) {
        for (const Setting& old : before) {
          cgroup::write_at(at.root_fd, at.path, old.file, old.value)
              .ignore("best effort: both orders");
        }
      }
    }
    return written;
  });
  if (!done) co_return done;
  GANTRY_CO_TRY(check(name, wanted));
  if (resources.memory_limit) {
    limited_[name].bytes = *resources.memory_limit;
    GANTRY_CO_TRY(register_notice(name).context("memory_limit"));
  }
  co_return Result<void>();
}

Co<Result<void>> MemoryIsolator::usage(ContainerId id, Usage& into) {
  const std::string name = name_of(id);
  if (!cgroups_.has("memory")) co_return Result<void>();
  const auto number = [&](const char* file) { return cgroups_.read_number(name, "memory", file); };
  into.memory_current = GANTRY_CO_TRY(number(is_v2() ? "memory.current" : "memory.usage_in_bytes"));
  // memory.peak came with 5.19.
  if (auto peak = number(is_v2() ? "memory.peak" : "memory.max_usage_in_bytes")) {
    into.memory_peak = *peak;
  }
  const Bytes limit = GANTRY_CO_TRY(number(is_v2() ? "memory.max" : "memory.limit_in_bytes"));
  if (limit < kUnlimitedV1) into.memory_limit = limit;
  const auto stat = parse_flat_keyed(GANTRY_CO_TRY(cgroups_.read(name, "memory", "memory.stat")));
  const auto value = [&](const char* key) -> std::optional<Bytes> {
    const auto found = stat.find(key);
    if (found == stat.end()) return std::nullopt;
    return found->second;
  };
  into.memory_anon = value(is_v2() ? "anon" : "total_rss");
  into.memory_file = value(is_v2() ? "file" : "total_cache");
  into.oom_kills = GANTRY_CO_TRY(oom_kills(name));
  co_return Result<void>();
}

Co<Result<void>> MemoryIsolator::cleanup(ContainerId id) {
  const auto limit = limited_.find(name_of(id));
  if (limit == limited_.end()) co_return Result<void>();
  if (limit->second.has_notice) ++removals_;
  limited_.erase(limit);
  notice_.notify();
  co_return Result<void>();
}
}  // namespace gantry
