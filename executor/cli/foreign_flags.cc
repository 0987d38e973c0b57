#include "executor/cli/foreign_flags.h"

#include <algorithm>

namespace gantry::cli {
namespace {
constexpr std::string_view kSizes = "`gantry system df` shows what is used";
constexpr std::string_view kNoNames =
    "there is no name server of containers: --add-host NAME:ADDRESS";
constexpr std::string_view kCpus = "--cpus N is the share of CPU time";

constexpr ForeignFlag kRun[] = {
    {"a", {}, "without -d both streams are attached, with -i stdin too"},
    {"attach", {}, "without -d both streams are attached, with -i stdin too"},
    {"sig-proxy", {}, "signals always go to the container", "true"},
    {"quiet", {}, "nothing is said that could be left out", "true"},
    {"q", {}, "nothing is said that could be left out", "true"},
    {"runtime", {}, "Gantry is the runtime"},
    {"cpu-period", {}, kCpus},
    {"cpu-quota", {}, kCpus},
    {"c", "cpu-shares", {}},
    {"memory-swappiness", {}, "--memory-swap limits it; the kernel's setting is for the host"},
    {"oom-kill-disable", {}, "--oom-score-adj -1000 spares it while others can be ended"},
    {"volumes-from", {}, "name each: -v SOURCE:PLACE"},
    {"volume-driver", {}, "mount it on the host, then -v SOURCE:PLACE"},
    {"storage-opt", {}, "the data directory's disk is the limit; --read-only with --tmpfs PLACE"},
    {"label-file", {}, "name each: --label KEY=VALUE"},
    {"network-alias", {}, kNoNames},
    {"net-alias", {}, kNoNames},
    {"dns-search", {}, "-v FILE:/etc/resolv.conf brings a file of your own"},
    {"dns-option", {}, "-v FILE:/etc/resolv.conf brings a file of your own"},
    {"domainname", {}, "--hostname NAME may have dots"},
    {"mac-address", {}, "the bridge chooses it"},
    {"ip6", {}, "containers have IPv4 addresses"},
    {"cgroupns", {}, "each container has a cgroup namespace of its own"},
    {"pod", {}, "there are no pods: `gantry exec` runs a further command in a container"},
    {"replace", {}, "`gantry rm -f NAME` first"},
};
constexpr ForeignFlag kPs[] = {{"s", {}, kSizes},
                               {"size", {}, kSizes},
                               {"sort", {}, "the newest are first; gantry ps | sort -k 2"}};
constexpr ForeignFlag kRm[] = {
    {"v", {}, "the container's own volumes always go with it", "true"},
    {"volumes", {}, "the container's own volumes always go with it", "true"},
    {"a", {}, "`gantry prune` removes all that have ended; gantry rm -f $(gantry ps -aq) all"},
    {"all", {}, "`gantry prune` removes all that have ended; gantry rm -f $(gantry ps -aq) all"},
    {"l", {}, "there are no links"},
    {"link", {}, "there are no links"},
};
constexpr ForeignFlag kStats[] = {
    {"a", {}, "what does not run uses nothing: `gantry ps -a` lists all"},
    {"all", {}, "what does not run uses nothing: `gantry ps -a` lists all"},
    {"no-trunc", {}, "`gantry stats --json` has whole ids"},
    {"stream", "watch", {}},
};
constexpr ForeignFlag kAll[] = {{"a", {}, "name each, or $(gantry ps -q)"},
                                {"all", {}, "name each, or $(gantry ps -q)"}};
constexpr ForeignFlag kExec[] = {{"env-file", {}, "name each: -e NAME=VALUE"}};
constexpr ForeignFlag kLogs[] = {
    {"details", {}, "`gantry inspect` shows the labels"},
    {"names", {}, "one container's log at a time"},
};
constexpr ForeignFlag kInspect[] = {
    {"s", {}, kSizes},
    {"size", {}, kSizes},
    {"type", {}, "`gantry image inspect` is for images"},
};
constexpr ForeignFlag kImages[] = {
    {"a", {}, "all are listed", "true"},
    {"all", {}, "all are listed", "true"},
    {"digests", {}, "they are shown; --no-trunc shows them whole", "true"},
    {"f", {}, "gantry images | grep"},
    {"filter", {}, "gantry images | grep"},
};
constexpr ForeignFlag kRmi[] = {
    {"no-prune", {}, "content that another image uses stays"},
    {"a", {}, "`gantry prune --images` removes all that are not used"},
    {"all", {}, "`gantry prune --images` removes all that are not used"}};
constexpr ForeignFlag kCp[] = {
    {"L", {}, "links are copied, not followed: name what it leads to"},
    {"follow-link", {}, "links are copied, not followed: name what it leads to"},
};
constexpr ForeignFlag kImport[] = {
    {"c", {}, "there is a flag for each: --env, --cmd, --entrypoint …"},
    {"change", {}, "there is a flag for each: --env, --cmd, --entrypoint …"},
    {"m", {}, "--label says what you like"},
    {"message", {}, "--label says what you like"},
    {"i", {}, "the file is the first argument, - is stdin"},
};
constexpr ForeignFlag kUpdate[] = {
    {"cpu-period", {}, kCpus}, {"cpu-quota", {}, kCpus}, {"c", "cpu-shares", {}}};
constexpr ForeignFlag kWait[] = {{"condition", {}, "it waits for the end"}};
constexpr ForeignFlag kStart[] = {{"detach-keys", {}, "they are ctrl-p ctrl-q"},
                                  {"checkpoint", {}, "here it is `gantry restore`"}};
constexpr ForeignFlag kPrune[] = {
    {"a", "images", {}},
    {"all", "images", {}},
    {"volumes", {}, "a container's own volumes go with it"},
    {"filter", {}, "--older-than TIME is what there is"},
};
constexpr ForeignFlag kTop[] = {{"o", {}, "--format chooses the columns"}};

struct Commands {
  std::string_view name;
  std::span<const ForeignFlag> flags;
};
constexpr Commands kCommands[] = {
    {"run", kRun},       {"ps", kPs},     {"rm", kRm},       {"stats", kStats},
    {"kill", kAll},      {"stop", kAll},  {"pause", kAll},   {"resume", kAll},
    {"restart", kAll},   {"exec", kExec}, {"logs", kLogs},   {"inspect", kInspect},
    {"images", kImages}, {"rmi", kRmi},   {"cp", kCp},       {"import", kImport},
    {"update", kUpdate}, {"wait", kWait}, {"start", kStart}, {"prune", kPrune},
    {"top", kTop},
};
}  // namespace

std::span<const ForeignFlag> foreign_flags(std::string_view command) {
  const auto* const known = std::ranges::find(kCommands, command, &Commands::name);
  return known == std::end(kCommands) ? std::span<const ForeignFlag>() : known->flags;
}
}  // namespace gantry::cli
