#include "executor/cli/complaint.h"

#include <string_view>

#include "executor/cli/request_words.h"

namespace gantry::cli {
std::string in_flags(std::string complaint) {
  const size_t spec = complaint.find("gantry_spec.");
  if (spec == complaint.npos || spec > complaint.find(':')) return complaint;
  complaint.erase(0, spec + std::string_view("gantry_spec.").size());
  static constexpr Pair kFlags[] = {{"name", "--name"},
                                    {"cwd", "--workdir"},
                                    {"user", "--user"},
                                    {"hostname", "--hostname"},
                                    {"rootfs", "--rootfs"},
                                    {"oom_score_adj", "--oom-score-adj"},
                                    {"stop_signal", "--stop-signal"},
                                    {"stop_timeout_seconds", "--stop-timeout"},
                                    {"log.max_size_bytes", "--log-opt max-size"},
                                    {"log.max_files", "--log-opt max-file"},
                                    {"cap_add", "--cap-add"},
                                    {"cap_drop", "--cap-drop"},
                                    {"ulimits", "--ulimit"},
                                    {"additional_groups", "--group-add"},
                                    {"network.dns_servers", "--dns"},
                                    {"network.extra_hosts", "--add-host"},
                                    {"network.ports", "--publish"},
                                    {"resources.cpus", "--cpus"},
                                    {"resources.cpu_shares", "--cpu-shares"},
                                    {"resources.cpuset_cpus", "--cpuset"},
                                    {"resources.cpuset_mems", "--cpuset-mems"},
                                    {"resources.memory_limit_bytes", "--memory"},
                                    {"resources.memory_reservation_bytes", "--memory-reservation"},
                                    {"resources.memory_swap_bytes", "--memory-swap"},
                                    {"resources.pids_limit", "--pids"}};
  for (const Pair& flag : kFlags) {
    if (complaint.starts_with(cat(flag.key, ": "))) {
      return complaint.replace(0, flag.key.size(), flag.value);
    }
    // "cap_add[0]: …", "ulimits[1].name: …": which one was meant is easy to see among the words.
    const size_t colon = complaint.find(": ");
    if (colon != complaint.npos && complaint.starts_with(cat(flag.key, "["))) {
      return complaint.replace(0, colon, flag.value);
    }
  }
  return complaint;
}

namespace {
// "bind /absent on /srv (the source): No such file or directory": /absent.
std::string_view missing_source(std::string_view complaint) {
  constexpr std::string_view kBegin = "bind ";
  const size_t on = complaint.find(" on ");
  const bool is_missing = complaint.starts_with(kBegin) && on != complaint.npos &&
                          complaint.ends_with(" (the source): No such file or directory");
  return is_missing ? complaint.substr(kBegin.size(), on - kBegin.size()) : std::string_view();
}
}  // namespace

std::string next_step(std::string_view complaint, int status) {
  if (status == 127) {
    return "  The container has no such program (a name without a slash is looked for in its "
           "PATH),\n"
           "  or it lacks the program's interpreter (#!) or loader. To see what it has:\n"
           "  gantry run --rm IMAGE ls /bin, or gantry exec CONTAINER ls /bin";
  }
  if (status == 126) {
    return "  It is there, but it is no file that can be executed: chmod +x it, or name a program";
  }
  if (const std::string_view source = missing_source(complaint); !source.empty()) {
    return cat("  -v wants a directory or file that is there: mkdir -p ", source,
               " first; -v PLACE alone is a new, empty volume");
  }
  return {};
}
}  // namespace gantry::cli
