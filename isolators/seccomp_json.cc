// Docker's format of a seccomp profile (defaultAction, syscalls[{names, action, args, includes,
// …}]).
#include <errno.h>
#include <rapidjson/document.h>
#include <seccomp.h>

#include <algorithm>

#include "api/types/capability_names.h"
#include "base/cgroup_fs.h"
#include "isolators/seccomp_profile.h"

namespace gantry {
namespace {
using rapidjson::Value;
constexpr size_t kMaxBytes = 1u << 20;
constexpr unsigned kMaxErrno = 4095;

struct Named {
  std::string_view name;
  uint32_t value;
};
constexpr Named kActions[] = {{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
                              {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                              {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                              {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                              {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                              {"SCMP_ACT_LOG", SCMP_ACT_LOG}};
constexpr Named kOperators[] = {{"SCMP_CMP_NE", SCMP_CMP_NE},
                                {"SCMP_CMP_LT", SCMP_CMP_LT},
                                {"SCMP_CMP_LE", SCMP_CMP_LE},
                                {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                {"SCMP_CMP_GE", SCMP_CMP_GE},
                                {"SCMP_CMP_GT", SCMP_CMP_GT},
                                {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};

Error bad(std::string_view member, std::string_view why) {
  return {Errc::invalid, cat("seccomp profile: ", member, ": ", why)};
}

std::string_view text_of(const Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

const Value* member(const Value& object, const char* name) {
  const auto found = object.FindMember(name);
  return found == object.MemberEnd() || found->value.IsNull() ? nullptr : &found->value;
}

Result<uint32_t> parse_action(const Value* value, const Value* errno_value, uint32_t default_errno,
                              std::string_view where) {
  if (value == nullptr || !value->IsString()) return bad(where, "an action is needed");
  const std::string_view name = text_of(*value);
  if (name == "SCMP_ACT_ERRNO") {
    uint32_t number = default_errno;
    if (errno_value != nullptr) {
      if (!errno_value->IsUint() || errno_value->GetUint() > kMaxErrno) {
        return bad(where, "errnoRet must be 0 to 4095");
      }
      number = errno_value->GetUint();
    }
    return static_cast<uint32_t>(SCMP_ACT_ERRNO(static_cast<uint16_t>(number)));
  }
  for (const Named& action : kActions) {
    if (name == action.name) return action.value;
  }
  if (name == "SCMP_ACT_NOTIFY" || name == "SCMP_ACT_TRACE") {
    return Error(Errc::unsupported, cat("seccomp profile: ", where, ": ", name,
                                        " needs a listener, which Gantry has not"));
  }
  return bad(where, cat("unknown action '", name.substr(0, 64), "'"));
}

Result<std::vector<SeccompArg>> parse_args(const Value* list) {
  std::vector<SeccompArg> out;
  if (list == nullptr) return out;
  if (!list->IsArray() || list->Size() > 6) return bad("syscalls.args", "at most six");
  for (const Value& entry : list->GetArray()) {
    if (!entry.IsObject()) return bad("syscalls.args", "objects are needed");
    const Value* index = member(entry, "index");
    const Value* value = member(entry, "value");
    const Value* value_two = member(entry, "valueTwo");
    const Value* op = member(entry, "op");
    if (index == nullptr || !index->IsUint() || index->GetUint() > 5) {
      return bad("syscalls.args.index", "must be 0 to 5");
    }
    if (value == nullptr || !value->IsUint64() ||
        (value_two != nullptr && !value_two->IsUint64())) {
      return bad("syscalls.args.value", "must be a number");
    }
    const Named* known = std::ranges::find_if(kOperators, [&](const Named& o) {
      return op != nullptr && op->IsString() && text_of(*op) == o.name;
    });
    if (known == std::end(kOperators)) return bad("syscalls.args.op", "unknown operator");
    out.push_back({index->GetUint(), static_cast<int>(known->value), value->GetUint64(),
                   value_two == nullptr ? 0 : value_two->GetUint64()});
  }
  return out;
}

// includes or excludes: {"caps": […], "arches": […], "minKernel": "4.8"}.
struct Condition {
  uint64_t capabilities = 0;
  bool names_arches = false, has_our_arch = false;
};
Result<Condition> parse_condition(const Value* object, const char* where) {
  Condition out;
  if (object == nullptr) return out;
  if (!object->IsObject()) return bad(where, "must be an object");
  if (const Value* caps = member(*object, "caps")) {
    if (!caps->IsArray()) return bad(where, "caps must be a list");
    for (const Value& cap : caps->GetArray()) {
      std::string_view name = cap.IsString() ? text_of(cap) : std::string_view();
      if (name.starts_with("CAP_")) name.remove_prefix(4);
      const auto known = std::ranges::find(kCapabilityNames, name);
      if (known == std::end(kCapabilityNames)) return bad(where, "unknown capability");
      out.capabilities |= uint64_t{1} << (known - std::begin(kCapabilityNames));
    }
  }
  if (const Value* arches = member(*object, "arches")) {
    if (!arches->IsArray()) return bad(where, "arches must be a list");
    out.names_arches = arches->Size() > 0;
    for (const Value& arch : arches->GetArray()) {
      const std::string_view name = arch.IsString() ? text_of(arch) : std::string_view();
      out.has_our_arch = out.has_our_arch || name == "amd64" || name == "x86_64";
    }
  }
  return out;  // minKernel: Gantry needs a newer one than any profile asks for (4.8)
}

Result<void> parse_rule(const Value& entry, uint32_t default_errno, SeccompProfile& profile) {
  if (!entry.IsObject()) return bad("syscalls", "objects are needed");
  SeccompRule rule{.names = {}, .action = 0, .args = {}};
  if (const Value* names = member(entry, "names")) {
    if (!names->IsArray()) return bad("syscalls.names", "must be a list");
    for (const Value& name : names->GetArray()) {
      if (!name.IsString() || name.GetStringLength() == 0 || name.GetStringLength() > 64) {
        return bad("syscalls.names", "names are needed");
      }
      rule.names.emplace_back(text_of(name));
    }
  }
  if (const Value* name = member(entry, "name"); name != nullptr && name->IsString()) {
    rule.names.emplace_back(text_of(*name));  // the old form
  }
  if (rule.names.empty()) return bad("syscalls.names", "names none");
  rule.action = GANTRY_TRY(parse_action(member(entry, "action"), member(entry, "errnoRet"),
                                        default_errno, "syscalls.action"));
  rule.args = GANTRY_TRY(parse_args(member(entry, "args")));
  const auto includes = GANTRY_TRY(parse_condition(member(entry, "includes"), "syscalls.includes"));
  const auto excludes = GANTRY_TRY(parse_condition(member(entry, "excludes"), "syscalls.excludes"));
  if (includes.names_arches && !includes.has_our_arch) return {};
  if (excludes.has_our_arch) return {};
  rule.needs_capabilities = includes.capabilities;
  rule.unless_capabilities = excludes.capabilities;
  profile.rules.push_back(std::move(rule));
  return {};
}
}  // namespace

Result<SeccompProfile> parse_seccomp_json(std::string_view json) {
  if (trim(json).empty()) return bad("profile", "is empty");
  if (json.size() > kMaxBytes) return bad("profile", "is larger than 1 MiB");
  rapidjson::Document document;
  // Iterative: no input is deep enough to reach the end of the stack.
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      json.data(), json.size());
  if (document.HasParseError()) {
    return bad("profile", cat("is no JSON, at byte ", document.GetErrorOffset()));
  }
  if (!document.IsObject()) return bad("profile", "must be an object");
  uint32_t default_errno = EPERM;
  if (const Value* number = member(document, "defaultErrnoRet")) {
    if (!number->IsUint() || number->GetUint() > kMaxErrno) {
      return bad("defaultErrnoRet", "must be 0 to 4095");
    }
    default_errno = number->GetUint();
  }
  SeccompProfile profile{.default_action = 0, .rules = {}, .known = {}};
  profile.default_action = GANTRY_TRY(
      parse_action(member(document, "defaultAction"), nullptr, default_errno, "defaultAction"));
  if (const Value* flags = member(document, "flags");
      flags != nullptr && (!flags->IsArray() || !flags->Empty())) {
    return Error(Errc::unsupported, "seccomp profile: flags: none is supported");
  }
  if (const Value* calls = member(document, "syscalls")) {
    if (!calls->IsArray()) return bad("syscalls", "must be a list");
    for (const Value& entry : calls->GetArray()) {
      // In a rule without its own number ERRNO means EPERM, whatever the default's is (Docker).
      GANTRY_TRY(parse_rule(entry, EPERM, profile));
    }
  }
  return profile;
}
}  // namespace gantry
