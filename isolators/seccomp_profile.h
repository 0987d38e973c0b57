// A seccomp policy as data: the default profile, or one in Docker's JSON format; and what becomes
// of it for a container with certain capabilities: a BPF program, by libseccomp, compacted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "isolators/seccomp_bpf.h"

namespace gantry {
struct SeccompArg {
  unsigned index;
  int op;  // scmp_compare
  uint64_t value, value_two;
};
struct SeccompRule {
  std::vector<std::string> names;
  uint32_t action;                   // SCMP_ACT_…
  std::vector<SeccompArg> args;      // all of them must hold
  uint64_t needs_capabilities = 0;   // applies only to containers with all of these
  uint64_t unless_capabilities = 0;  // does not apply to those with one of these
};
struct SeccompProfile {
  uint32_t default_action;
  std::vector<SeccompRule> rules;
  std::vector<std::string> known;  // also counted when "newer than the profile" is decided
};

// The numbers of a call; -1 where an architecture has none of that name.
struct SyscallNumbers {
  int x86_64 = -1, i386 = -1;
};
// From our own table (data/syscalls.inc): libseccomp's ends with the kernel of its day.
std::optional<SyscallNumbers> syscall_numbers(std::string_view name);
const std::map<std::string_view, SyscallNumbers>& all_syscall_numbers();

// data/seccomp_default.inc, parsed once.
const SeccompProfile& default_seccomp_profile();
// The format of that file. Errc::corrupt names the line.
Result<SeccompProfile> parse_seccomp_text(std::string_view text);
// Docker's format. Errc::invalid names the member. Depth and size are limited.
Result<SeccompProfile> parse_seccomp_json(std::string_view json);

struct SeccompFilter {
  BpfProgram exported;   // libseccomp's
  BpfProgram compacted;  // what is loaded
  std::vector<SeccompOverride> overrides;
  std::vector<std::string> skipped;  // allowed by the profile, unknown here
};
// For x86_64 and i386 (and x32 where the kernel has it); Errc::unsupported on other machines.
enum class X32 { no, yes };
Result<SeccompFilter> compile_seccomp(const SeccompProfile& profile, uint64_t capabilities,
                                      X32 x32);
bool kernel_has_x32();
}  // namespace gantry
