#include "isolators/seccomp_isolator.h"

#include <linux/audit.h>

#include "isolators/seccomp_profile.h"

namespace gantry {
namespace {
constexpr size_t kMaxPrograms = 64;  // tenants may bring profiles of their own

std::pair<std::string, uint64_t> key_of(const SecuritySpec& security) {
  const bool is_default = security.seccomp.mode == SeccompSpec::Mode::default_profile;
  return {is_default ? "" : sha256_hex(security.seccomp.profile_json),
          security.capabilities.bounding};
}
}  // namespace

SeccompIsolator::SeccompIsolator(asio::any_io_executor executor) {
  auto task =
      std::make_shared<std::packaged_task<Result<Program>()>>([] { return make(SecuritySpec()); });
  warm_ = task->get_future();
  auto& pool =
      asio::use_service<OffloadPool>(asio::query(executor, asio::execution::context)).pool();
  asio::post(pool, [task] { (*task)(); });
}

Result<SeccompIsolator::Program> SeccompIsolator::make(const SecuritySpec& security) {
  const uint64_t capabilities = security.capabilities.bounding;
  const X32 x32 = kernel_has_x32() ? X32::yes : X32::no;
  SeccompFilter filter;
  if (security.seccomp.mode == SeccompSpec::Mode::default_profile) {
    filter = GANTRY_TRY(compile_seccomp(default_seccomp_profile(), capabilities, x32));
  } else {
    const SeccompProfile profile = GANTRY_TRY(parse_seccomp_json(security.seccomp.profile_json));
    filter = GANTRY_TRY(compile_seccomp(profile, capabilities, x32));
    // The default's equality is proven by a test; a stranger's is looked at here.
    GANTRY_TRY(check_equal(filter.exported, filter.compacted, {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386},
                           filter.overrides));
  }
  return std::make_shared<const BpfProgram>(std::move(filter.compacted));
}

Result<std::shared_ptr<const BpfProgram>> SeccompIsolator::program_for(
    const SecuritySpec& security) {
  if (security.seccomp.mode == SeccompSpec::Mode::unconfined) return Program();
  if (warm_.valid()) programs_[key_of(SecuritySpec())] = GANTRY_TRY(warm_.get());
  const auto key = key_of(security);
  if (const auto known = programs_.find(key); known != programs_.end()) return known->second;
  if (programs_.size() >= kMaxPrograms) programs_.clear();
  return programs_[key] = GANTRY_TRY(make(security));
}

Co<Result<void>> SeccompIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  const SecuritySpec& security = context.spec.security;
  const auto program = GANTRY_CO_TRY(program_for(security));
  if (program == nullptr) co_return Result<void>();
  const size_t bytes = program->size() * sizeof(sock_filter);
  // KERNEL: without no_new_privs a filter needs CAP_SYS_ADMIN, which kCapabilities takes away.
  const Stage stage = security.no_new_privileges ? Stage::lockdown : Stage::limits;
  plan.add(stage, {.kind = OpKind::kSeccomp, .s1 = plan.blob(program->data(), bytes), .b = bytes});
  co_return Result<void>();
}
}  // namespace gantry
