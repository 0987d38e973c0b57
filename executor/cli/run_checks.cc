#include "executor/cli/run_checks.h"

#include <algorithm>
#include <map>

#include "executor/cli/request_words.h"
#include "executor/cli/run_health.h"

namespace gantry::cli {
namespace {
// What is claimed once, and the flag that claimed it.
class Claims {
 public:
  explicit Claims(std::string_view what) : what_(what) {}
  Result<void> take(std::string_view claimed, std::string_view flag, std::string_view word) {
    const std::string by = cat(flag, " ", word);
    const auto [it, is_new] = taken_.emplace(claimed, by);
    if (is_new) return {};
    return usage_error(
        cat(it->second, " and ", by, ": both ", what_, " ", claimed, "; give one of them"));
  }

 private:
  const std::string_view what_;
  std::map<std::string, std::string, std::less<>> taken_;
};

std::string_view place_of_mount(std::string_view word) {
  for (const std::string_view part : split_words(word, ',')) {
    const Pair pair = cut(part, '=').value_or(Pair{part, ""});
    if (pair.key == "target" || pair.key == "destination" || pair.key == "dst") return pair.value;
  }
  return {};
}

Result<void> check_places(const RunOptions& options) {
  Claims places("are for the place");
  for (const std::string& word : options.volumes) {
    const std::vector<std::string_view> parts = split_words(word, ':');
    GANTRY_TRY(places.take(parts[parts.size() == 1 ? 0 : 1], "-v", word));
  }
  for (const std::string& word : options.tmpfs) {
    GANTRY_TRY(places.take(split_words(word, ':')[0], "--tmpfs", word));
  }
  for (const std::string& word : options.mounts) {
    GANTRY_TRY(places.take(place_of_mount(word), "--mount", word));
  }
  if (!options.shm_size.empty()) {
    GANTRY_TRY(places.take("/dev/shm", "--shm-size", options.shm_size));
  }
  return {};
}

// NAME=VALUE: each name once.
Result<void> check_names(std::string_view flag, const std::vector<std::string>& words) {
  Claims names("set");
  for (const std::string& word : words) {
    GANTRY_TRY(names.take(split_words(word, '=')[0], flag, word));
  }
  return {};
}

Result<void> check_capabilities(const RunOptions& options) {
  if (options.privileged && options.cap_add.size() + options.cap_drop.size() != 0) {
    const bool is_added = !options.cap_add.empty();
    return usage_error(
        cat("--privileged and ", is_added ? "--cap-add " : "--cap-drop ",
            is_added ? options.cap_add[0] : options.cap_drop[0],
            ": it has every capability; --cap-add ALL --cap-drop NAME leaves one out"));
  }
  const auto plain = [](std::string name) {
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    return name.starts_with("CAP_") ? name.substr(4) : name;
  };
  for (const std::string& added : options.cap_add) {
    for (const std::string& dropped : options.cap_drop) {
      if (plain(added) != plain(dropped)) continue;
      return usage_error(cat("--cap-add ", added, " and --cap-drop ", dropped,
                             " contradict each other: give one of them"));
    }
  }
  return {};
}

// The same words twice are a slip, and two that differ a contradiction.
Result<void> check_security(const std::vector<std::string>& words) {
  Claims options("say");
  for (const std::string& word : words) {
    GANTRY_TRY(options.take(split_words(word, '=')[0], "--security-opt", word));
  }
  return {};
}

Result<void> check_pull(const std::string& when) {
  if (when.empty() || when == "missing" || when == "never") return {};
  return usage_error(cat("--pull is missing or never, not \"", when.substr(0, 100),
                         "\": there is no registry here; `gantry import` brings an image"));
}

Result<void> check_ports(const RunOptions& options) {
  if (!options.ports.empty() && !options.network.empty() && options.network != "bridge") {
    return usage_error(cat("-p ", options.ports[0], " and --network ", options.network,
                           ": ports are published on the network bridge only"));
  }
  Claims ports("publish");
  for (const std::string& word : options.ports) {
    const std::string_view protocol = word.ends_with("/udp") ? "/udp" : "";
    const size_t colon = word.rfind(':');
    if (colon == word.npos) continue;  // free ones
    const std::string_view host = std::string_view(word).substr(0, colon);
    if (host.empty() || host == "0" || host.ends_with(':') || host.ends_with(":0")) continue;
    GANTRY_TRY(ports.take(cat(host, protocol), "-p", word));
  }
  return {};
}
}  // namespace

Result<void> check_together(const RunOptions& options) {
  // With a terminal somebody may attach later.
  if (options.detach && options.interactive && !options.terminal) {
    return usage_error("-i passes on this shell's stdin, and -d leaves it: give one of them");
  }
  if (options.detach && options.detach_keys) {
    return usage_error("--detach-keys are typed at a terminal, and -d leaves it: give one of them");
  }
  GANTRY_TRY(check_pull(options.pull));
  GANTRY_TRY(check_health(options));
  GANTRY_TRY(check_places(options));
  GANTRY_TRY(check_names("--label", options.labels));
  GANTRY_TRY(check_names("--sysctl", options.sysctls));
  GANTRY_TRY(check_names("--ulimit", options.ulimits));
  GANTRY_TRY(check_capabilities(options));
  GANTRY_TRY(check_security(options.security));
  return check_ports(options);
}

Result<void> check_locality(const Session& session, const RunOptions& options) {
  if (options.interactive) GANTRY_TRY(session.need_local("-i"));
  if (options.terminal) GANTRY_TRY(session.need_local("-t"));
  if (!options.pidfile.empty()) GANTRY_TRY(session.need_local("--pidfile"));
  // An absolute path is the other machine's; what has no slash is a name.
  const auto is_ours = [](std::string_view path) {
    path = path.substr(0, path.find_first_of(":,"));
    return !path.starts_with('/') && (path.starts_with('.') || path.find('/') != path.npos);
  };
  if (!options.rootfs.empty() && !options.rootfs.starts_with('/')) {
    GANTRY_TRY(session.need_local(cat("--rootfs ", options.rootfs)));
  }
  for (const std::string& volume : options.volumes) {
    if (is_ours(volume)) GANTRY_TRY(session.need_local(cat("-v ", volume)));
  }
  for (const std::string& mount : options.mounts) {
    const size_t source = mount.find("source=");
    if (source != mount.npos && is_ours(std::string_view(mount).substr(source + 7))) {
      GANTRY_TRY(session.need_local(cat("--mount ", mount)));
    }
  }
  for (const std::string& uri : options.uris) {
    if (uri.find("://") == uri.npos && !uri.starts_with('/')) {
      GANTRY_TRY(session.need_local(cat("--uri ", uri)));
    }
  }
  return {};
}
}  // namespace gantry::cli
