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
  arena_.append(text);
  arena_.push_back('\0');
  return at;
}

uint32_t LaunchPlan::Builder::blob(const void* data, size_t bytes) {
  arena_.resize((arena_.size() + 7) / 8 * 8);
  uint32_t at = static_cast<uint32_t>(arena_.size());
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

Result<LaunchPlan> LaunchPlan::Builder::seal() && {
  if (has_nul_) return Error(Errc::invalid, "an argument, variable or path holds a NUL byte");
  if (argv_.empty()) return Error(Errc::invalid, "no command: args is empty");
  for (const UniqueFd& owned : fds_) GANTRY_CHECK(owned.valid());
  LaunchPlan plan;
  sys::Pipe report = GANTRY_TRY(sys::pipe());
  plan.report_read_ = std::move(report.read);
  header_.report_fd = fd(std::move(report.write));
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
