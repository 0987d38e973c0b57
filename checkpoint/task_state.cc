#include "checkpoint/task_state.h"

#include <charconv>

#include "base/cgroup_fs.h"
#include "base/sys.h"

namespace gantry {
namespace {
// The text after "NAME:\t"; nullopt when there is no such line.
std::optional<std::string_view> field(std::string_view status, std::string_view name) {
  for (std::string_view line : split(status, '\n')) {
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') {
      return trim(line.substr(name.size() + 1));
    }
  }
  return std::nullopt;
}

Error missing(std::string_view name) {
  return Error(Errc::corrupt, cat("/proc/PID/status: no readable ", name));
}

Result<uint64_t> mask(std::string_view status, std::string_view name) {
  std::optional<std::string_view> text = field(status, name);
  uint64_t value = 0;
  if (!text) return missing(name);
  auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value, 16);
  if (ec != std::errc{} || end != text->data() + text->size()) return missing(name);
  return value;
}

Result<int> number(std::string_view status, std::string_view name) {
  std::optional<std::string_view> text = field(status, name);
  int value = 0;
  if (!text || !parse_number(*text, value)) return missing(name);
  return value;
}

Result<std::string> words(std::string_view status, std::string_view name) {
  std::optional<std::string_view> text = field(status, name);
  if (!text) return missing(name);
  std::string out;
  for (char c : *text) out.push_back(c == '\t' ? ' ' : c);
  return out;
}
}  // namespace

Result<TaskState> parse_task_status(std::string_view status) {
  TaskState out;
  // The innermost namespace's number is the last.
  std::string pids = GANTRY_TRY(words(status, "NSpid"));
  if (!parse_number(std::string_view(pids).substr(pids.rfind(' ') + 1), out.pid)) {
    return missing("NSpid");
  }
  out.parent = GANTRY_TRY(number(status, "PPid"));
  out.uids = GANTRY_TRY(words(status, "Uid"));
  out.gids = GANTRY_TRY(words(status, "Gid"));
  out.groups = GANTRY_TRY(words(status, "Groups"));
  out.inheritable = GANTRY_TRY(mask(status, "CapInh"));
  out.permitted = GANTRY_TRY(mask(status, "CapPrm"));
  out.effective = GANTRY_TRY(mask(status, "CapEff"));
  out.bounding = GANTRY_TRY(mask(status, "CapBnd"));
  out.ambient = GANTRY_TRY(mask(status, "CapAmb"));
  out.no_new_privileges = GANTRY_TRY(number(status, "NoNewPrivs")) != 0;
  out.seccomp = GANTRY_TRY(number(status, "Seccomp"));
  return out;
}

Result<TaskState> read_task_state(pid_t pid) {
  std::string status = GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/status")));
  return parse_task_status(status).context("task ", pid);
}

Result<void> check_task(const TaskState& restored, const std::vector<TaskState>& dumped,
                        const SecuritySpec& allowed) {
  auto refuse = [&](std::string_view what) {
    return Error(Errc::corrupt,
                 cat("restored task ", restored.pid, " ", what, "; the checkpoint was changed"));
  };
  const TaskState* before = nullptr;
  for (const TaskState& task : dumped) {
    if (task.pid == restored.pid) before = &task;
  }
  if (before == nullptr) return refuse("was not in the container");
  if (restored.uids != before->uids) return refuse("has other user ids");
  if (restored.gids != before->gids) return refuse("has other group ids");
  if (restored.groups != before->groups) return refuse("has other groups");
  const uint64_t more =
      (restored.effective & ~before->effective) | (restored.permitted & ~before->permitted) |
      (restored.inheritable & ~before->inheritable) | (restored.ambient & ~before->ambient) |
      (restored.bounding & ~before->bounding) |
      (restored.bounding & ~allowed.capabilities.bounding);
  if (more != 0) return refuse("has capabilities that it had not");
  if (!restored.no_new_privileges && (before->no_new_privileges || allowed.no_new_privileges)) {
    return refuse("lacks no_new_privs");
  }
  if (restored.seccomp == 0 &&
      (before->seccomp != 0 || allowed.seccomp.mode != SeccompSpec::Mode::unconfined)) {
    return refuse("has no seccomp filter");
  }
  return {};
}
}  // namespace gantry
