#include "containerizer/prepared_children.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/failpoint.h"
#include "base/sys.h"
#include "containerizer/room.h"

namespace gantry {
namespace {
using namespace std::chrono_literals;
constexpr size_t kRecipes = 3;
// More than it has: all children together hold at most an eighth of the limit.
constexpr size_t kDescriptorsPerChild = 64;
// A kind of launch that is older than this makes room for another.
constexpr Duration kOldKind = 10s;
constexpr Duration kPrepareLimit = 10s;
// Launches come in bursts: as long as a quarter of them is left, those are used first, in peace.
constexpr Duration kPeace = 20ms;
constexpr Duration kCalm = 1s;
constexpr Duration kInUse = 60s;

// KERNEL: mounts arrive from the peers that the host's mount had when the namespace was copied, and
// no poll tells that it has got some since (`mount --make-shared`).
size_t digest_of_mounts() {
  return std::hash<std::string>()(sys::read_file("/proc/self/mountinfo").value_or(""));
}
}  // namespace

PreparedChildren::PreparedChildren(LaunchBackend& backend, ContainerCgroups& cgroups,
                                   asio::any_io_executor executor, size_t size)
    : backend_(backend),
      cgroups_(cgroups),
      size_(size),
      prefix_("prepared." + sys::random_hex(6) + "-"),
      scope_(executor),
      watch_(std::move(executor)) {
  if (auto fd = sys::open("/proc/self/mountinfo", O_RDONLY)) mountinfo_ = std::move(*fd);
}

// KERNEL: poll(2) of mountinfo says POLLPRI when the table has changed since this descriptor's last
// poll. Where the host's mounts are private, a namespace copied before such a change does not get
// it, and a volume on the new mount would show what is below.
uint64_t PreparedChildren::mount_table() {
  pollfd look = {mountinfo_.get(), POLLPRI, 0};
  if (::poll(&look, 1, 0) != 0) ++mounts_;
  return mounts_;
}

// Those that are stale go at once, used or not: with the host's older mounts they would keep a file
// system busy that the host has unmounted.
Co<void> PreparedChildren::watch_mounts() {
  auto changes = sys::open("/proc/self/mountinfo", O_RDONLY);
  while (!is_closing_ && changes && co_await wait_fd(changes->get(), Readiness::urgent)) {
    end_stale();
    // Mounts come in bursts; new children are worth while where there are launches too.
    co_await sleep_for(kCalm);
    end_stale();
    if (std::chrono::steady_clock::now() < last_claim_ + kInUse) refill();
  }
}

void PreparedChildren::end_stale() {
  const uint64_t mounts = mount_table();
  for (Recipe& recipe : recipes_) {
    for (PreparedChild& child : std::exchange(recipe.ready, {})) {
      if (child.mounts == mounts) {
        recipe.ready.push_back(std::move(child));
      } else {
        give_up(std::move(child));
      }
    }
  }
}

PreparedChildren::Recipe* PreparedChildren::find(const std::string& kind) {
  auto it = std::ranges::find(recipes_, kind, &Recipe::kind);
  if (it == recipes_.end()) return nullptr;
  recipes_.splice(recipes_.begin(), recipes_, it);
  return &recipes_.front();
}

std::optional<PreparedChild> PreparedChildren::claim(const std::string& kind, HostMounts needed) {
  Recipe* recipe = find(kind);
  last_claim_ = std::chrono::steady_clock::now();
  if (recipe == nullptr) return std::nullopt;
  recipe->used = last_claim_;
  if (recipe->ready.empty()) return std::nullopt;
  const uint64_t mounts = mount_table();
  const bool is_copy_enough = needed == HostMounts::present;
  const size_t propagation = is_copy_enough ? 0 : digest_of_mounts();
  while (!recipe->ready.empty()) {
    PreparedChild child = std::move(recipe->ready.front());
    recipe->ready.pop_front();
    const bool is_current =
        child.mounts == mounts && (is_copy_enough || child.propagation == propagation);
    if (is_current && !child.process.ended()) return child;
    give_up(std::move(child));
  }
  return std::nullopt;
}

void PreparedChildren::learn(const std::string& kind, Prelude prelude) {
  if (size_ == 0 || is_closing_) return;
  if (watch_.size() == 0) watch_.spawn(watch_mounts());
  Recipe* recipe = find(kind);
  if (recipe != nullptr && *recipe->prelude == prelude) return;
  if (recipe == nullptr) {
    const auto now = std::chrono::steady_clock::now();
    if (recipes_.size() >= kRecipes && now < recipes_.back().used + kOldKind) return;
    recipes_.push_front({kind, nullptr, {}, now});
    recipe = &recipes_.front();
  }
  recipe->prelude = std::make_shared<const Prelude>(std::move(prelude));
  for (PreparedChild& child : std::exchange(recipe->ready, {})) give_up(std::move(child));
  while (recipes_.size() > kRecipes) {
    for (PreparedChild& child : recipes_.back().ready) give_up(std::move(child));
    recipes_.pop_back();
  }
}

size_t PreparedChildren::ready() const {
  size_t count = 0;
  for (const Recipe& recipe : recipes_) count += recipe.ready.size();
  return count;
}

// The recipe that lacks most; nullptr: all are full.
PreparedChildren::Recipe* PreparedChildren::most_wanting() {
  auto it = std::ranges::min_element(recipes_, {}, [](const Recipe& r) { return r.ready.size(); });
  return it == recipes_.end() || it->ready.size() >= size_ ? nullptr : &*it;
}

void PreparedChildren::refill() {
  if (is_filling_ || is_closing_ || most_wanting() == nullptr) return;
  is_filling_ = true;
  scope_.spawn(fill());
}

// Each holds descriptors of ours; what launches and ends containers comes first.
bool PreparedChildren::has_room() const {
  return ready() < descriptor_limit() / kDescriptorsPerChild;
}

Co<void> PreparedChildren::fill() {
  while (!is_closing_) {
    Recipe* recipe = most_wanting();
    if (recipe == nullptr || !has_room()) break;
    if (recipe->ready.size() > size_ / 4 &&
        std::chrono::steady_clock::now() < last_claim_ + kPeace) {
      co_await sleep_for(kPeace);
      continue;
    }
    std::shared_ptr<const Prelude> prelude = recipe->prelude;
    Result<PreparedChild> child = co_await prepare(prelude);
    // A host at a limit of its own: launches go on without, and the next one tries again.
    if (!child) break;
    auto it = std::ranges::find(recipes_, prelude, &Recipe::prelude);
    if (is_closing_ || it == recipes_.end()) {
      give_up(std::move(*child));
    } else if (child->mounts != mount_table()) {
      give_up(std::move(*child));
      break;  // watch_mounts() goes on when it is calm
    } else {
      it->ready.push_back(std::move(*child));
    }
  }
  is_filling_ = false;
}

Co<Result<PreparedChild>> PreparedChildren::prepare(std::shared_ptr<const Prelude> prelude) {
  const std::string name = cat(prefix_, next_++);
  const uint64_t mounts = mount_table();
  const size_t propagation = digest_of_mounts();
  LaunchPlan::Builder plan;
  plan.add(*prelude);
  GANTRY_CO_TRY(cgroups_.create(name, plan));
  PreparedChild child{.name = name,
                      .prelude = std::move(prelude),
                      .process = ProcessRef(UniqueFd(), {}),
                      .report_pipe = {},
                      .plan_socket = {},
                      .mounts = mounts,
                      .propagation = propagation};
  Result<void> started = co_await start(child, std::move(plan));
  cgroups_.refill_pool();
  if (started) co_return child;
  child.plan_socket.reset();
  co_await end(name, true);
  co_return std::move(started).error();
}

Co<Result<void>> PreparedChildren::start(PreparedChild& child, LaunchPlan::Builder builder) {
  GANTRY_FAILPOINT_CO_TRY("prepare.after_cgroups");
  sys::Pipe signal = GANTRY_CO_TRY(sys::pipe());
  auto [ours, theirs] = GANTRY_CO_TRY(sys::message_sockets());
  builder.add(Stage::wait, {.kind = OpKind::kBarrier, .fd = builder.fd(std::move(signal.read))});
  builder.add(Stage::next_plan, {.kind = OpKind::kNextPlan, .fd = builder.fd(std::move(theirs))});
  LaunchPlan plan = GANTRY_CO_TRY(std::move(builder).seal());
  LaunchedChild launched = GANTRY_CO_TRY(co_await backend_.launch(child.name, plan, {}));
  GANTRY_FAILPOINT_CO_TRY("prepare.after_clone");
  child.process = std::move(launched.process);
  child.report_pipe = std::move(launched.report_pipe);
  child.plan_socket = std::move(ours);
  const int signal_fd = signal.write.get();
  GANTRY_CO_TRY(co_await wait_exec(plan, child.report_pipe.get(), kPrepareLimit,
                                   [&, signal_fd](uint32_t) { return let_on(child, signal_fd); }));
  GANTRY_FAILPOINT_CO_TRY("prepare.after_ready");
  co_return Result<void>();
}

// It has reported that it made its moves.
Co<Result<void>> PreparedChildren::let_on(const PreparedChild& child, int signal_fd) {
  GANTRY_CO_TRY(co_await cgroups_.verify(child.name, child.process.pid(), 1s));
  co_return sys::write_all(signal_fd, "s");
}

void PreparedChildren::give_up(PreparedChild child) {
  const bool has_cgroups = cgroups_.knows(child.name);  // not yet taken over by a container
  child.plan_socket.reset();
  scope_.spawn(end(child.name, has_cgroups));
}

// Its socket is closed: it exits by itself.
Co<void> PreparedChildren::end(std::string name, bool has_cgroups) {
  (co_await backend_.wait_exit(name)).ignore("it may not have been cloned");
  (co_await backend_.forget(name)).ignore("forgotten at the next recovery");
  if (has_cgroups) {
    (co_await cgroups_.destroy(name, 10s)).ignore("removed as an orphan at the next recovery");
  }
}

Co<void> PreparedChildren::close() {
  is_closing_ = true;
  co_await watch_.close();
  for (Recipe& recipe : recipes_) {
    for (PreparedChild& child : std::exchange(recipe.ready, {})) give_up(std::move(child));
  }
  co_await scope_.join();
  co_await scope_.close();
}
}  // namespace gantry
