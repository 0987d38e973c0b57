// The seccomp filter of a container. Programs are made once per (profile, capabilities) and kept in
// memory: a launch only copies bytes into its plan. Loaded last of all with no_new_privs; without
// it while CAP_SYS_ADMIN is still there, before the ids change. Threads: loop only.
#pragma once

#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "isolators/seccomp_bpf.h"
#include "launcher/isolator.h"

namespace gantry {
class SeccompIsolator final : public Isolator {
 public:
  // Begins to make the default program at once, on the thread pool: 25 ms that a first launch need
  // not wait for.
  explicit SeccompIsolator(asio::any_io_executor executor);
  std::string_view name() const override { return "seccomp"; }
  bool is_for_nested() const override { return true; }
  Co<Result<void>> prepare(const LaunchContext& context, LaunchPlan::Builder& plan) override;
  // The program a container with this specification gets (nullptr: unconfined).
  Result<std::shared_ptr<const BpfProgram>> program_for(const SecuritySpec& security);

 private:
  using Program = std::shared_ptr<const BpfProgram>;
  static Result<Program> make(const SecuritySpec& security);

  // The only work outside the loop's thread; taken (and waited for) before anything else is made,
  // because libseccomp keeps state of its own.
  std::future<Result<Program>> warm_;
  // {hash of the profile's text, or "" for the default; capabilities}
  std::map<std::pair<std::string, uint64_t>, Program> programs_;
};
}  // namespace gantry
