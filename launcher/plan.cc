#include "launcher/plan.h"

#include <algorithm>
#include <cstring>

#include "base/sys.h"
#include "launcher/child/plan_view.h"

namespace gantry {
namespace {
template <class T>
void append_pod(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

constexpr size_t kPreludeStages = static_cast<size_t>(Stage::next_plan) + 1;

void append_offsets(std::string& out, const std::vector<uint32_t>& offsets) {
  for (uint32_t offset : offsets) append_pod(out, uint64_t{offset});
  append_pod(out, uint64_t{0});
}
}  // namespace

const PlanHeader& LaunchPlan::header() const {
  return *reinterpret_cast<const PlanHeader*>(bytes_.data());
}

std::span<const Op> LaunchPlan::ops() const {
  return {reinterpret_cast<const Op*>(bytes_.data() + sizeof(PlanHeader)), header().op_count};
}

std::string_view LaunchPlan::string(uint32_t arena_offset) const {
  if (arena_offset >= header().arena_bytes) return {};
  return bytes_.c_str() + header().arena_offset + arena_offset;
}

std::vector<std::string> LaunchPlan::args() const {
  const auto* offsets =
      reinterpret_cast<const uint64_t*>(bytes_.data() + sizeof(PlanHeader) + ops().size_bytes());
  std::vector<std::string> out;
  for (uint32_t i = 0; i < header().argc; ++i) {
    out.emplace_back(string(static_cast<uint32_t>(offsets[i])));
  }
  return out;
}

void LaunchPlan::Builder::add(Stage stage, const Op& op) {
  stages_[static_cast<size_t>(stage)].push_back(op);
}

uint32_t LaunchPlan::Builder::str(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) has_nul_ = true;
  uint32_t at = static_cast<uint32_t>(arena_.size());
  texts_.emplace_back(at, static_cast<uint32_t>(text.size()));
  arena_.append(text);
  arena_.push_back('\0');
  return at;
}

uint32_t LaunchPlan::Builder::blob(const void* data, size_t bytes) {
  arena_.resize((arena_.size() + 7) / 8 * 8);
  uint32_t at = static_cast<uint32_t>(arena_.size());
  texts_.emplace_back(at, static_cast<uint32_t>(bytes));
  arena_.append(static_cast<const char*>(data), bytes);
  arena_.push_back('\0');
  return at;
}

int32_t LaunchPlan::Builder::fd(UniqueFd owned) {
  fds_.push_back(std::move(owned));
  return static_cast<int32_t>(fds_.size()) - 1;
}

void LaunchPlan::Builder::set_args(const std::vector<std::string>& args) {
  argv_.clear();
  for (const std::string& arg : args) argv_.push_back(str(arg));
}

void LaunchPlan::Builder::set_env(const std::vector<std::string>& env) {
  envp_.clear();
  for (const std::string& entry : env) envp_.push_back(str(entry));
}

void LaunchPlan::Builder::add_clone_flags(uint64_t flags) { header_.clone_flags |= flags; }
void LaunchPlan::Builder::set_cgroup_fd(int32_t slot) { header_.cgroup_fd = slot; }
void LaunchPlan::Builder::set_pid_namespace_fd(int32_t slot) { header_.pid_namespace_fd = slot; }

void LaunchPlan::Builder::reduce_to(std::initializer_list<Stage> stages, uint64_t clone_flags) {
  for (size_t i = 0; i < std::size(stages_); ++i) {
    if (std::find(stages.begin(), stages.end(), static_cast<Stage>(i)) == stages.end()) {
      stages_[i].clear();
    }
  }
  header_.clone_flags = clone_flags;
}

std::string_view LaunchPlan::Builder::text(uint32_t offset) const {
  auto it = std::lower_bound(texts_.begin(), texts_.end(), std::pair(offset, uint32_t{0}));
  if (offset == 0 || it == texts_.end() || it->first != offset) return {};
  return std::string_view(arena_).substr(offset, it->second);
}

bool Prelude::Step::operator==(const Step& other) const {
  return stage == other.stage && std::memcmp(&op, &other.op, sizeof op) == 0 && s1 == other.s1 &&
         s2 == other.s2 && s3 == other.s3;
}

std::optional<Prelude> LaunchPlan::Builder::prelude() const {
  if (header_.pid_namespace_fd >= 0) return std::nullopt;
  Prelude out{.clone_flags = header_.clone_flags, .steps = {}};
  for (size_t i = 0; i < kPreludeStages; ++i) {
    const Stage stage = static_cast<Stage>(i);
    if (stage == Stage::cgroups || stage == Stage::wait) continue;
    for (const Op& op : stages_[i]) {
      if (op.fd >= 0) return std::nullopt;
      Prelude::Step step{stage, op, std::string(text(op.s1)), std::string(text(op.s2)),
                         std::string(text(op.s3))};
      step.op.s1 = step.op.s2 = step.op.s3 = 0;
      out.steps.push_back(std::move(step));
    }
  }
  return out;
}

void LaunchPlan::Builder::add(const Prelude& prelude) {
  const auto copy = [this](const std::string& text) {
    return text.empty() ? 0 : blob(text.data(), text.size());
  };
  for (const Prelude::Step& step : prelude.steps) {
    Op op = step.op;
    op.s1 = copy(step.s1), op.s2 = copy(step.s2), op.s3 = copy(step.s3);
    add(step.stage, op);
  }
  add_clone_flags(prelude.clone_flags);
}

void LaunchPlan::Builder::drop_prelude() {
  for (size_t i = 0; i < kPreludeStages; ++i) stages_[i].clear();
  header_.clone_flags = 0;
  prelude_dropped_ = true;
}

Result<LaunchPlan> LaunchPlan::Builder::seal() && {
  if (has_nul_) return Error(Errc::invalid, "an argument, variable or path holds a NUL byte");
  const bool is_prelude = !stages_[static_cast<size_t>(Stage::next_plan)].empty();
  if (argv_.empty() && !is_prelude) return Error(Errc::invalid, "no command: args is empty");
  for (const UniqueFd& owned : fds_) GANTRY_CHECK(owned.valid());
  LaunchPlan plan;
  if (!prelude_dropped_) {
    sys::Pipe report = GANTRY_TRY(sys::pipe());
    plan.report_read_ = std::move(report.read);
    header_.report_fd = fd(std::move(report.write));
  }
  if (fds_.size() > kMaxPlanFds) {
    return Error(Errc::invalid,
                 cat("a launch may name ", kMaxPlanFds, " descriptors, not ", fds_.size()));
  }

  uint32_t ops = 0;
  for (const auto& stage : stages_) ops += static_cast<uint32_t>(stage.size());
  header_.op_count = ops;
  header_.argc = static_cast<uint32_t>(argv_.size());
  header_.envc = static_cast<uint32_t>(envp_.size());
  header_.fd_count = static_cast<uint32_t>(fds_.size());
  header_.arena_offset = static_cast<uint32_t>(sizeof(PlanHeader) + ops * sizeof(Op) +
                                               (argv_.size() + envp_.size() + 2) * 8);
  header_.arena_bytes = static_cast<uint32_t>(arena_.size());
  size_t total = size_t{header_.arena_offset} + arena_.size();
  if (total > kMaxPlanBytes) {
    return Error(Errc::invalid, cat("arguments, environment and files of the launch take ", total,
                                    " bytes; at most ", kMaxPlanBytes, " are possible"));
  }
  header_.total_bytes = static_cast<uint32_t>(total);

  plan.bytes_.reserve(total);
  append_pod(plan.bytes_, header_);
  for (const auto& stage : stages_) {
    plan.bytes_.append(reinterpret_cast<const char*>(stage.data()), stage.size() * sizeof(Op));
  }
  append_offsets(plan.bytes_, argv_);
  append_offsets(plan.bytes_, envp_);
  plan.bytes_.append(arena_);
  child::PlanView view;
  if (const char* wrong = child::check_plan(plan.bytes_.data(), total, &view)) {
    return Error(Errc::invalid, cat("the launch plan does not check: ", wrong));
  }
  plan.memfd_ = GANTRY_TRY(
      sys::sealed_memfd("gantry-plan", std::as_bytes(std::span(plan.bytes_.data(), total))));
  plan.fds_ = std::move(fds_);
  return plan;
}
}  // namespace gantry
