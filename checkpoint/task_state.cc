#include "checkpoint/task_state.h"

#include <linux/capability.h>

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
  out.is_zombie = field(status, "State").value_or("").starts_with('Z');
  return out;
}

Result<TaskState> read_task_state(pid_t pid) {
  std::string status = GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/status")));
  return parse_task_status(status).context("task ", pid);
}

namespace {
// KERNEL: with no_new_privs a user that is not root has after an exec the ambient set and no way to
// more, or to another id without the capability for that.
bool is_confined(const SecuritySpec& allowed, const Credentials& user) {
  return allowed.no_new_privileges && user.uid != 0;
}

uint64_t most_capabilities(const SecuritySpec& allowed, const Credentials& user) {
  const CapabilitySpec& sets = allowed.capabilities;
  return is_confined(allowed, user) ? sets.ambient
                                    : sets.bounding | sets.permitted | sets.inheritable;
}

bool may_have_ids(const std::string& ids, uint32_t own, int capability, const SecuritySpec& allowed,
                  const Credentials& user) {
  if (!is_confined(allowed, user)) return true;
  if ((allowed.capabilities.ambient >> capability & 1) != 0) return true;
  return ids == cat(own, " ", own, " ", own, " ", own);
}
}  // namespace

Result<void> check_task(const TaskState& restored, const std::vector<TaskState>& dumped,
                        const SecuritySpec& allowed, const Credentials& user) {
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
  if (!may_have_ids(restored.uids, user.uid, CAP_SETUID, allowed, user) ||
      !may_have_ids(restored.gids, user.gid, CAP_SETGID, allowed, user)) {
    return refuse("has ids that its container's user cannot come to have");
  }
  const uint64_t more =
      (restored.effective & ~before->effective) | (restored.permitted & ~before->permitted) |
      (restored.inheritable & ~before->inheritable) | (restored.ambient & ~before->ambient) |
      (restored.bounding & ~before->bounding);
  if (more != 0) return refuse("has capabilities that it had not");
  const uint64_t has = restored.effective | restored.permitted | restored.ambient;
  if ((has & ~most_capabilities(allowed, user)) != 0 ||
      (restored.inheritable & ~allowed.capabilities.inheritable) != 0 ||
      (restored.bounding & ~allowed.capabilities.bounding) != 0) {
    return refuse("has capabilities that its container is not allowed");
  }
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
