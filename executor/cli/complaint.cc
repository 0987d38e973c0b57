#include "executor/cli/complaint.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string_view>

#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kSpec = "gantry_spec.";

// Fields of a GantrySpec, and the flag each comes from.
constexpr Pair kFlags[] = {{"name", "--name"},
                           {"image", "IMAGE"},
                           {"args", "COMMAND"},
                           {"entrypoint.args", "--entrypoint"},
                           {"env", "-e"},
                           {"cwd", "--workdir"},
                           {"user", "--user"},
                           {"hostname", "--hostname"},
                           {"rootfs", "--rootfs"},
                           {"oom_score_adj", "--oom-score-adj"},
                           {"stop_signal", "--stop-signal"},
                           {"stop_timeout_seconds", "--stop-timeout"},
                           {"restart.maximum_retries", "--restart on-failure"},
                           {"restart", "--restart"},
                           {"log.max_size_bytes", "--log-opt max-size"},
                           {"health.args", "--health-cmd"},
                           {"health.shell", "--health-cmd"},
                           {"health.interval_ms", "--health-interval"},
                           {"health.timeout_ms", "--health-timeout"},
                           {"health.start_period_ms", "--health-start-period"},
                           {"health.start_interval_ms", "--health-start-interval"},
                           {"health.retries", "--health-retries"},
                           {"health.on_failure", "--health-on-failure"},
                           {"health.off", "--no-healthcheck"},
                           {"cgroup_parent", "--cgroup-parent"},
                           {"log.max_files", "--log-opt max-file"},
                           {"labels", "--label"},
                           {"sysctls", "--sysctl"},
                           {"seccomp", "--security-opt seccomp"},
                           {"cap_add", "--cap-add"},
                           {"cap_drop", "--cap-drop"},
                           {"ulimits", "--ulimit"},
                           {"uris", "--uri"},
                           {"mounts", "--volume"},
                           {"devices", "--device"},
                           {"additional_groups", "--group-add"},
                           {"network.dns_servers", "--dns"},
                           {"network.extra_hosts", "--add-host"},
                           {"network.ports", "--publish"},
                           {"network.mode", "--network"},
                           {"resources.cpus", "--cpus"},
                           {"resources.cpu_shares", "--cpu-shares"},
                           {"resources.cpuset_cpus", "--cpuset"},
                           {"resources.cpuset_mems", "--cpuset-mems"},
                           {"resources.memory_limit_bytes", "--memory"},
                           {"resources.memory_reservation_bytes", "--memory-reservation"},
                           {"resources.memory_swap_bytes", "--memory-swap"},
                           {"resources.pids_limit", "--pids"},
                           {"resources.blkio_weight", "--blkio-weight"},
                           {"resources.read_bps", "--device-read-bps"},
                           {"resources.write_bps", "--device-write-bps"},
                           {"resources.read_iops", "--device-read-iops"},
                           {"resources.write_iops", "--device-write-iops"},
                           {"resources.device_rules", "--device-cgroup-rule"}};

// What the rest of a complaint calls them, and what it begins with where a limit was not accepted
// by the kernel.
constexpr Pair kWords[] = {{"memory_limit_bytes", "--memory"},
                           {"memory_reservation_bytes", "--memory-reservation"},
                           {"memory_swap_bytes", "--memory-swap"},
                           {"memory_reservation", "--memory-reservation"},
                           {"memory_limit", "--memory"},
                           {"memory_swap", "--memory-swap"},
                           {"cpu_quota and cpu_period", "--cpus"},
                           {"cpu_shares", "--cpu-shares"},
                           {"cpuset_cpus", "--cpuset"},
                           {"cpuset_mems", "--cpuset-mems"},
                           {"cgroup_parent", "--cgroup-parent"},
                           {"pids_limit", "--pids"},
                           {"blkio_weight", "--blkio-weight"}};

std::string with_flags(std::string text) {
  const auto continues_word = [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || c == '-'; };
  for (const Pair& word : kWords) {
    for (size_t at = 0; (at = text.find(word.key, at)) != text.npos;) {
      const size_t end = at + word.key.size();
      const bool is_part = (at > 0 && (continues_word(text[at - 1]) || text[at - 1] == '.')) ||
                           (end < text.size() && continues_word(text[end]));
      if (!is_part) text.replace(at, word.key.size(), word.value);
      at += is_part ? word.key.size() : word.value.size();
    }
  }
  return text;
}

// "ulimits[1].name" below `at`, as text; empty: there is none, or it is not plain.
std::string value_at(const Json* at, std::string_view path) {
  while (at != nullptr && !path.empty()) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    if (end != 0) at = find(*at, path.substr(0, end));
    path.remove_prefix(end);
    if (path.starts_with('.')) {
      path.remove_prefix(1);
    } else if (path.starts_with('[')) {
      const size_t close = std::min(path.find(']'), path.size() - 1);
      uint32_t index = 0;
      const bool is_there = at != nullptr && at->IsArray() &&
                            parse_number(path.substr(1, close - 1), index) && index < at->Size();
      at = is_there ? &(*at)[index] : nullptr;
      path.remove_prefix(close + 1);
    }
  }
  if (at == nullptr || at->IsObject() || at->IsArray()) return {};
  if (at->IsDouble()) {
    char text[32];
    ::snprintf(text, sizeof text, "%g", at->GetDouble());
    return text;
  }
  return at->IsString() ? std::string(at->GetString(), at->GetStringLength()) : to_text(*at);
}

const Json* spec_of(const Json& request) {
  for (const char* path :
       {"gantry_run.launch.gantry_spec", "launch_container.gantry_spec", "gantry_update"}) {
    if (const Json* spec = find(request, path)) return spec;
  }
  return nullptr;
}

// "resources.cpus" and "must be …": "--cpus 9999: must be …".
std::string about_field(std::string_view path, std::string_view what, const Json* spec) {
  for (const Pair& flag : kFlags) {
    if (!path.starts_with(flag.key)) continue;
    std::string_view part = path.substr(flag.key.size());
    if (!part.empty() && part[0] != '[' && part[0] != '.') continue;
    const std::string value = one_line(value_at(spec, path), 200);
    const size_t item_end = path.find(']');
    const bool is_tmpfs = flag.key == "mounts" && item_end != path.npos &&
                          value_at(spec, cat(path.substr(0, item_end + 1), ".type")) == "TMPFS";
    const std::string_view name = is_tmpfs ? "--tmpfs" : flag.value;
    if (const size_t dot = part.find('.'); dot != part.npos) {
      return cat(name, ": ", part.substr(dot + 1), value.empty() ? "" : cat(" \"", value, "\""),
                 ": ", what);
    }
    return cat(name, value.empty() ? "" : " ", value, ": ", what);
  }
  return cat(path, ": ", what);
}

// The container that a command was to be run in.
std::optional<std::string> missing_parent(std::string_view complaint) {
  constexpr std::string_view kBegin = "Parent container ", kEnd = " does not exist";
  if (!complaint.starts_with(kBegin) || !complaint.ends_with(kEnd)) return std::nullopt;
  complaint.remove_prefix(kBegin.size());
  return std::string(complaint.substr(0, complaint.size() - kEnd.size()));
}

// "memory: memory_limit: …": which isolator it was says nothing more.
void drop_isolator(std::string& complaint) {
  for (const std::string_view name : {"cpuset: ", "memory: ", "cpu: ", "pids: ", "io: "}) {
    if (complaint.starts_with(name)) complaint.erase(0, name.size());
  }
}

// "cpuset_cpus: this host has 0-1: write /sys/…": neither does the file that refused, but what was
// asked for does.
void drop_file(std::string& complaint, const Json* spec) {
  constexpr std::string_view kHas = ": this host has ";
  const size_t has = complaint.find(kHas);
  if (!complaint.starts_with("cpuset_") || has == complaint.npos) return;
  complaint.erase(std::min(complaint.find(": ", has + kHas.size()), complaint.size()));
  const std::string asked = value_at(spec, cat("resources.", complaint.substr(0, has)));
  complaint.insert(has, asked.empty() ? "" : cat(" ", one_line(asked, 200)));
}

// What a step of the launch says of what comes from one flag only.
void name_flag(std::string& complaint) {
  constexpr Pair kBeginnings[] = {{"seccomp: seccomp profile: ", "--security-opt seccomp: "},
                                  {"user: ", "--user: "},
                                  {"bind the root ", "--rootfs "},
                                  {"fetch ", "--uri: fetch "}};
  for (const auto& [begin, flag] : kBeginnings) {
    if (complaint.starts_with(begin)) complaint.replace(0, begin.size(), flag);
  }
}
}  // namespace

std::string in_flags(std::string complaint, const std::string& request) {
  if (const auto parent = missing_parent(complaint)) return no_container(*parent);
  const Result<JsonDocument> asked = parse_json(request, "the request");
  const Json* const spec_asked = asked ? spec_of(*asked) : nullptr;
  drop_isolator(complaint);
  drop_file(complaint, spec_asked);
  name_flag(complaint);
  const size_t spec = complaint.find(kSpec);
  const size_t colon = complaint.find(": ");
  if (spec == complaint.npos || colon == complaint.npos || spec > colon) {
    return with_flags(std::move(complaint));
  }
  const std::string path = complaint.substr(spec + kSpec.size(), colon - spec - kSpec.size());
  return about_field(path, with_flags(complaint.substr(colon + 2)), spec_asked);
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

// The word of "no image 'tool': …"; empty: that is not what it says.
std::string_view missing_image(std::string_view complaint) {
  constexpr std::string_view kBegin = "no image '";
  if (!complaint.starts_with(kBegin)) return {};
  complaint.remove_prefix(kBegin.size());
  return complaint.substr(0, std::min(complaint.find('\''), complaint.size()));
}

// As it is typed: docker.io/library/tools:latest is `tools`.
std::string_view short_name(std::string_view reference) {
  for (const std::string_view begin : {"docker.io/", "library/"}) {
    if (reference.starts_with(begin)) reference.remove_prefix(begin.size());
  }
  constexpr std::string_view kLatest = ":latest";
  if (reference.ends_with(kLatest)) reference.remove_suffix(kLatest.size());
  return reference;
}

// The image that was meant, or how to bring it.
std::string about_missing_image(Session& session, std::string_view word) {
  std::vector<std::string_view> names;
  const Result<JsonDocument> answer = session.call(R"({"type":"GANTRY_IMAGES"})");
  const Json none(rapidjson::kObjectType);
  const Json& there = answer ? static_cast<const Json&>(*answer) : none;
  for (const Json* image : list_of(there, "gantry_images.images")) {
    for (const Json* name : list_of(*image, "references")) {
      names.push_back(short_name({name->GetString(), name->GetStringLength()}));
    }
  }
  word = short_name(word);
  if (const std::string_view meant = nearest(word, names); !meant.empty()) {
    return cat("  Did you mean \"", meant, "\"?");
  }
  return cat("  Nothing is pulled here. From a registry: skopeo copy docker://", word,
             " oci:DIR, then gantry import DIR ", word);
}

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
}  // namespace

int report_launch_failure(Session& session, const HttpResponse& response,
                          const std::string& request) {
  int status = kLaunchFailureStatus;
  parse_number(response.head.header("Gantry-Exit-Status"), status);
  const std::string complaint = in_flags(refusal(response, request).to_string(), request);
  const std::string_view image = missing_image(complaint);
  const std::string next =
      image.empty() ? next_step(complaint, status) : about_missing_image(session, image);
  write_error(cat(complaint, next.empty() ? "" : "\n", next));
  return status;
}
}  // namespace gantry::cli
