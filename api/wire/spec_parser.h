// Inside of parse.cc: the parser's two halves and their checks. Not a public header.
#pragma once

#include "api/wire/parse.h"

namespace gantry::wire {
inline constexpr std::string_view kSandbox = "/mnt/mesos/sandbox";

// What the Mesos messages say (parse_mesos.cc).
Result<void> add_mesos_launch(const Field& field, const agent::Call::LaunchContainer& in,
                              ContainerSpec& spec);

// What only Gantry's extension can say, added to what the Mesos messages said (parse_gantry.cc).
Result<void> add_gantry_spec(const Field& field, const GantrySpec& in, ContainerSpec& spec);

// The limits of that (parse_resources.cc).
Result<void> add_resources(const Field& field, const GantrySpec::Resources& in, ResourceSpec& out);

// Of a spec that has one: its health check (parse_health.cc).
Result<void> add_health(const Field& field, const GantrySpec& spec, ContainerSpec& to);

// Checks that need the whole (check_whole.cc): argument sizes, sysctls against namespaces,
// duplicates.
Result<void> check_whole(const Field& field, const ContainerSpec& spec);

// Of a launch whose id has a parent (check_nested.cc): nothing that would be the parent's to say.
// Errc::unsupported.
Result<void> check_nested(const Field& field, const agent::Call::LaunchContainer& in);

inline constexpr size_t kMaxArgument = 131'071;  // KERNEL: MAX_ARG_STRLEN less its NUL (execve(2))
inline constexpr int kMaxListed = 4096;          // of anything repeated
inline constexpr Bytes kMinMemory = 6u << 20;    // below it a process cannot even be reported on
inline constexpr Bytes kMaxBytes = Bytes{1} << 62;
inline constexpr double kMaxCpus = 8192;
Result<void> check_count(const Field& field, int count);
Result<void> check_range(const Field& field, int64_t value, int64_t least, int64_t most);
Result<void> check_device_number(const Field& field, uint32_t major_number, uint32_t minor_number);
}  // namespace gantry::wire
