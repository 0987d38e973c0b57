// From a policy to a program: libseccomp decides what it means, seccomp_bpf makes it small.
#include <errno.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/sys.h"
#include "isolators/seccomp_profile.h"

namespace gantry {
namespace {
constexpr uint32_t kX32Bit = 0x40000000;
using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

bool applies(const SeccompRule& rule, uint64_t capabilities) {
  return (rule.needs_capabilities & capabilities) == rule.needs_capabilities &&
         (rule.unless_capabilities & capabilities) == 0;
}

uint32_t to_kernel(uint32_t action) {
  return action == SCMP_ACT_ALLOW ? SECCOMP_RET_ALLOW : action;  // libseccomp's are the kernel's
}

class Compiler {
 public:
  Compiler(const SeccompProfile& profile, uint64_t capabilities, X32 x32)
      : profile_(profile), capabilities_(capabilities), x32_(x32) {}

  Result<SeccompFilter> run() {
    Context context(seccomp_init(profile_.default_action), seccomp_release);
    if (context == nullptr) return Error(Errc::invalid, "seccomp: default action");
    GANTRY_TRY(answer(seccomp_arch_add(context.get(), SCMP_ARCH_X86), "add i386"));
    if (x32_ == X32::yes) {
      GANTRY_TRY(answer(seccomp_arch_add(context.get(), SCMP_ARCH_X32), "add x32"));
    }
    GANTRY_TRY(answer(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize"));
    for (const SeccompRule& rule : profile_.rules) {
      if (!applies(rule, capabilities_)) continue;
      for (const std::string& name : rule.names) {
        GANTRY_TRY(add(context.get(), rule, name).context("seccomp: system call ", name));
      }
    }
    add_newer_overrides();
    out_.exported = GANTRY_TRY(export_program(context.get()));
    return std::move(out_);
  }

 private:
  static Result<void> answer(int result, const char* what) {
    if (result == 0) return {};
    return Error::from_errno(-result, cat("seccomp: ", what));
  }

  Result<void> add(scmp_filter_ctx context, const SeccompRule& rule, const std::string& name) {
    if (rule.action == profile_.default_action) return {};
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) return add_by_number(rule, name);
    std::vector<scmp_arg_cmp> args;
    for (const SeccompArg& arg : rule.args) {
      args.push_back({arg.index, static_cast<scmp_compare>(arg.op), arg.value, arg.value_two});
    }
    const int result = seccomp_rule_add_array(context, rule.action, number,
                                              static_cast<unsigned>(args.size()), args.data());
    // Rules of a profile may overlap (ptrace by kernel version and by capability).
    if (result == 0 || result == -EEXIST) return {};
    return Error::from_errno(-result, "the rule cannot be added");
  }

  // KERNEL: libseccomp 2.5.4 ends with 5.17; what came later has the same number everywhere.
  Result<void> add_by_number(const SeccompRule& rule, const std::string& name) {
    const auto numbers = syscall_numbers(name);
    if (!numbers || !rule.args.empty()) {
      // One that is not there cannot be called; but a refusal that silently is none would be worse.
      if (rule.action == SCMP_ACT_ALLOW) {
        out_.skipped.push_back(name);
        return {};
      }
      return Error(Errc::unsupported, "is unknown here, so it cannot be refused");
    }
    const uint32_t action = to_kernel(rule.action);
    override_number(AUDIT_ARCH_X86_64, numbers->x86_64, action);
    override_number(AUDIT_ARCH_I386, numbers->i386, action);
    if (x32_ == X32::yes && numbers->x86_64 >= 0) {
      override_number(AUDIT_ARCH_X86_64, static_cast<int>(kX32Bit) + numbers->x86_64, action);
    }
    return {};
  }

  void override_number(uint32_t arch, int number, uint32_t action) {
    if (number < 0) return;
    const auto nr = static_cast<uint32_t>(number);
    out_.overrides.push_back({arch, nr, nr, action});
  }

  // A program of tomorrow asks for a call of tomorrow: it must hear ENOSYS and do without, not
  // EPERM.
  void add_newer_overrides() {
    const uint32_t kind = profile_.default_action & SECCOMP_RET_ACTION_FULL;
    if (kind != SECCOMP_RET_ERRNO || profile_.default_action == SCMP_ACT_ERRNO(ENOSYS)) return;
    uint32_t newest_64 = 0, newest_32 = 0;
    const auto count = [&](const std::string& name) {
      const auto numbers = syscall_numbers(name);
      if (!numbers) return;
      newest_64 = std::max(newest_64, static_cast<uint32_t>(std::max(0, numbers->x86_64)));
      newest_32 = std::max(newest_32, static_cast<uint32_t>(std::max(0, numbers->i386)));
    };
    for (const SeccompRule& rule : profile_.rules) std::ranges::for_each(rule.names, count);
    std::ranges::for_each(profile_.known, count);
    const uint32_t enosys = SECCOMP_RET_ERRNO | ENOSYS;
    if (x32_ == X32::yes) {
      out_.overrides.push_back({AUDIT_ARCH_X86_64, newest_64 + 1, kX32Bit - 1, enosys});
      // x32's own numbers end at 547.
      const uint32_t newest_x32 = kX32Bit | std::max(newest_64, 547u);
      out_.overrides.push_back({AUDIT_ARCH_X86_64, newest_x32 + 1, UINT32_MAX, enosys});
    } else {
      out_.overrides.push_back({AUDIT_ARCH_X86_64, newest_64 + 1, UINT32_MAX, enosys});
    }
    out_.overrides.push_back({AUDIT_ARCH_I386, newest_32 + 1, UINT32_MAX, enosys});
  }

  static Result<BpfProgram> export_program(scmp_filter_ctx context) {
    const UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
    if (!file.valid()) return Error::from_errno(errno, "memfd for the seccomp program");
    GANTRY_TRY(answer(seccomp_export_bpf(context, file.get()), "export"));
    ::lseek(file.get(), 0, SEEK_SET);
    const std::string bytes = GANTRY_TRY(sys::read_all(file.get()));
    BpfProgram program(bytes.size() / sizeof(sock_filter));
    std::copy_n(bytes.data(), program.size() * sizeof(sock_filter),
                reinterpret_cast<char*>(program.data()));
    return program;
  }

  const SeccompProfile& profile_;
  uint64_t capabilities_;
  X32 x32_;
  SeccompFilter out_;
};
}  // namespace

bool kernel_has_x32() {
  static const bool there = ::syscall(static_cast<long>(kX32Bit) + SYS_getpid) > 0;
  return there;
}

Result<SeccompFilter> compile_seccomp(const SeccompProfile& profile, uint64_t capabilities,
                                      X32 x32) {
  if (seccomp_arch_native() != SCMP_ARCH_X86_64) {
    return Error(Errc::unsupported, "seccomp profiles are made for x86_64 so far");
  }
  SeccompFilter filter = GANTRY_TRY(Compiler(profile, capabilities, x32).run());
  const std::vector<uint32_t> arches = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386};
  filter.compacted = GANTRY_TRY(compact_filter(filter.exported, arches, filter.overrides));
  if (filter.compacted.size() > BPF_MAXINSNS) {
    return Error(Errc::unsupported, cat("the seccomp profile makes ", filter.compacted.size(),
                                        " instructions; the kernel takes ", BPF_MAXINSNS));
  }
  return filter;
}
}  // namespace gantry
