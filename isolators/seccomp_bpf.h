// Seccomp filters as data: an interpreter, and a compiler from libseccomp's exported program to a
// smaller one with the same answers. Pure functions; no system call.
//
// Why: attaching a filter costs a launch about half a microsecond an instruction (the kernel checks
// and translates it); libseccomp's tree for the default profile has 1,400 of them, and neighbouring
// calls with one answer merge into ranges (measurements: docs/adr/0010-seccomp-compaction.md).
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace gantry {
using BpfProgram = std::vector<sock_filter>;

// The filter's answer (SECCOMP_RET_…). Errc::corrupt for what the kernel would refuse: a jump out
// of the program, an unknown instruction, a load that is not of seccomp_data.
Result<uint32_t> run_filter(const BpfProgram& program, const seccomp_data& data);

// An answer for a stretch of call numbers, whatever the program says about them.
struct SeccompOverride {
  uint32_t arch;  // AUDIT_ARCH_…
  uint32_t first, last;
  uint32_t action;  // SECCOMP_RET_…
};

// A program that answers like `program` where no override applies, and like the last override that
// does elsewhere; for these architectures, and one more answer for every other. Errc::unsupported
// when `program` does something that cannot be taken apart (then use it as it is).
Result<BpfProgram> compact_filter(const BpfProgram& program, const std::vector<uint32_t>& arches,
                                  const std::vector<SeccompOverride>& overrides);

// Every call number at which the answers of the program may change, and its neighbours: looking at
// these is looking at all 2^32.
std::vector<uint32_t> call_numbers_to_check(const BpfProgram& program,
                                            const std::vector<SeccompOverride>& overrides);
// The argument words worth trying against it, in the same sense.
std::vector<uint64_t> arguments_to_check(const BpfProgram& program);
// Errc::conflict names the first call on which compacted and (program, overrides) differ.
Result<void> check_equal(const BpfProgram& program, const BpfProgram& compacted,
                         const std::vector<uint32_t>& arches,
                         const std::vector<SeccompOverride>& overrides);
}  // namespace gantry
