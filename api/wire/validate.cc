#include "api/wire/validate.h"

#include <arpa/inet.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "api/types/capability_names.h"
#include "base/str.h"

namespace gantry::wire {
namespace {
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxUser = 256;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

template <class Legal>
bool consists_of(std::string_view text, Legal legal) {
  return std::all_of(text.begin(), text.end(), legal);
}

bool has_dot_dot(std::string_view path) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    if (path.substr(0, slash) == "..") return true;
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return false;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return out;
}

constexpr std::pair<std::string_view, int> kRlimits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK}};

// Files that lxcfs serves over the kernel's; the only mounts below /proc.
constexpr std::string_view kProcFiles[] = {"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg",
                                           "/proc/meminfo", "/proc/slabinfo",  "/proc/stat",
                                           "/proc/swaps",   "/proc/uptime"};

// A uid or gid, or a name that is not looked up as a number.
Result<void> check_id_or_name(const Field& field, std::string_view text, std::string_view what) {
  if (text.empty()) return invalid(field, cat("has an empty ", what));
  if (consists_of(text, is_digit)) {
    uint32_t id = 0;
    if (!parse_number(text, id) || id == UINT32_MAX || (text.size() > 1 && text[0] == '0')) {
      return invalid(field,
                     cat("'", text, "' is no ", what, ": 0 to 4294967294, no leading zeros"));
    }
    return {};
  }
  const bool legal =
      (is_letter(text[0]) || text[0] == '_') &&
      consists_of(
          text.substr(0, text.size() - 1),
          [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.'; }) &&
      (is_letter(text.back()) || is_digit(text.back()) ||
       std::string_view("_-.$").find(text.back()) != std::string_view::npos);
  if (!legal) {
    return invalid(field, cat("has a ", what,
                              " that is neither a number nor a name ([A-Za-z_][A-Za-z0-9_.-]*)"));
  }
  return {};
}
}  // namespace

std::string Field::path() const {
  if (index_ >= 0) return cat(parent_->path(), "[", index_, "]");
  if (parent_ == nullptr) return std::string(name_);
  const std::string before = parent_->path();
  return before.empty() ? std::string(name_) : cat(before, ".", name_);
}

Error invalid(const Field& field, std::string_view what) {
  return Error(Errc::invalid, cat(field.path(), ": ", what));
}

Result<void> check_text(const Field& field, std::string_view value, size_t most) {
  if (value.size() > most) {
    return invalid(field, cat("has ", value.size(), " bytes, at most ", most, " are accepted"));
  }
  if (value.find('\0') != std::string_view::npos) return invalid(field, "must not contain NUL");
  return {};
}

Result<void> check_line(const Field& field, std::string_view value, size_t most) {
  GANTRY_TRY(check_text(field, value, most));
  if (std::any_of(value.begin(), value.end(), is_control)) {
    return invalid(field, "must not contain control characters");
  }
  return {};
}

Result<void> check_absolute_path(const Field& field, std::string_view value) {
  if (value.empty() || value[0] != '/') return invalid(field, "must be an absolute path");
  GANTRY_TRY(check_line(field, value, kMaxPath));
  if (has_dot_dot(value)) return invalid(field, "must not contain '..'");
  return {};
}

Result<void> check_relative_path(const Field& field, std::string_view value) {
  if (value.empty() || value[0] == '/') return invalid(field, "must be a relative path");
  GANTRY_TRY(check_line(field, value, kMaxPath));
  if (has_dot_dot(value)) return invalid(field, "must not contain '..'");
  return {};
}

Result<void> check_mount_point(const Field& field, std::string_view value) {
  GANTRY_TRY(check_absolute_path(field, value));
  // "//proc/./x" is "/proc/x".
  std::string plain;
  for (std::string_view rest = value; !rest.empty();) {
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view part = rest.substr(0, slash);
    if (!part.empty() && part != ".") plain += cat("/", part);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  if (plain.empty()) return invalid(field, "must not be the root directory");
  if (plain == "/proc" ||
      (plain.starts_with("/proc/") &&
       std::find(std::begin(kProcFiles), std::end(kProcFiles), plain) == std::end(kProcFiles))) {
    return invalid(field, "must not be in /proc");
  }
  return {};
}

Result<void> check_container_name(const Field& field, std::string_view value) {
  const bool legal = !value.empty() && value.size() <= 128 &&
                     (is_letter(value[0]) || is_digit(value[0])) && consists_of(value, [](char c) {
                       return is_letter(c) || is_digit(c) || c == '_' || c == '-';
                     });
  if (!legal) {
    return invalid(field, "must be 1 to 128 of A-Z a-z 0-9 _ -, not beginning with _ or -");
  }
  return {};
}

Result<void> check_hostname(const Field& field, std::string_view value) {
  const bool legal = !value.empty() && value.size() <= 64 &&
                     (is_letter(value[0]) || is_digit(value[0])) && consists_of(value, [](char c) {
                       return is_letter(c) || is_digit(c) || c == '.' || c == '-' || c == '_';
                     });
  if (!legal) {
    return invalid(field, "must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit");
  }
  return {};
}

Result<void> check_cgroup_parent(const Field& field, std::string_view value) {
  constexpr size_t kMostNames = 8, kLongestName = 64;
  size_t names = 0;
  for (bool is_last = false; !is_last; ++names) {
    const size_t slash = value.find('/');
    is_last = slash == value.npos;
    const std::string_view name = value.substr(0, slash);
    const bool legal =
        !name.empty() && name.size() <= kLongestName && name != "." && name != ".." &&
        names < kMostNames &&
        consists_of(
            name,
            [](char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-'; });
    if (!legal) {
      return invalid(
          field,
          "must be a path like web or web/front below the executor's ROOT/parents, of at "
          "most 8 names of at most 64 of A-Z a-z 0-9 . _ - each, none of them . or ..");
    }
    if (!is_last) value.remove_prefix(slash + 1);
  }
  return {};
}

Result<void> check_ip_address(const Field& field, std::string_view value) {
  unsigned char address[16];
  const std::string text(value);
  if (value.find('\0') == std::string_view::npos &&
      (::inet_pton(AF_INET, text.c_str(), address) == 1 ||
       ::inet_pton(AF_INET6, text.c_str(), address) == 1)) {
    return {};
  }
  return invalid(field, "must be an IPv4 or IPv6 address");
}

Result<void> check_user(const Field& field, std::string_view value) {
  GANTRY_TRY(check_line(field, value, kMaxUser));
  const size_t colon = value.find(':');
  GANTRY_TRY(check_id_or_name(field, value.substr(0, colon), "user"));
  if (colon == std::string_view::npos) return {};
  return check_id_or_name(field, value.substr(colon + 1), "group");
}

Result<void> check_group(const Field& field, std::string_view value) {
  GANTRY_TRY(check_line(field, value, kMaxUser));
  return check_id_or_name(field, value, "group");
}

Result<void> check_exposed_port(const Field& field, std::string_view value) {
  const size_t slash = value.find('/');
  const std::string_view protocol = slash == value.npos ? "tcp" : value.substr(slash + 1);
  const std::string_view range = value.substr(0, slash);
  const size_t dash = range.find('-');
  uint16_t first = 0, last = 0;
  const bool is_range = parse_number(range.substr(0, dash), first) &&
                        parse_number(dash == range.npos ? range : range.substr(dash + 1), last) &&
                        first > 0 && first <= last;
  if (is_range && (protocol == "tcp" || protocol == "udp" || protocol == "sctp")) return {};
  return invalid(field, "must be PORT[-PORT][/tcp|udp|sctp], ports from 1 to 65535");
}

Result<void> check_environment(const Field& field, std::string_view value) {
  // KERNEL: MAX_ARG_STRLEN, 32 pages with the final NUL (execve(2)).
  GANTRY_TRY(check_text(field, value, 131'071));
  const size_t equals = value.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return invalid(field, "must be NAME=VALUE");
  }
  const std::string_view name = value.substr(0, equals);
  if (std::any_of(name.begin(), name.end(), is_control)) {
    return invalid(field, "must not have control characters in its name");
  }
  // These end in line-based files, sooner or later.
  const bool plain = name == "HOME" || name == "USER" || name == "LOGNAME" || name == "HOSTNAME" ||
                     name == "PATH" || name == "SHELL";
  if (plain && std::any_of(value.begin(), value.end(), is_control)) {
    return invalid(field, cat(name, " must not contain control characters"));
  }
  return {};
}

Result<void> check_sha256(const Field& field, std::string_view value) {
  const bool legal = value.size() == 64 && consists_of(value, [](char c) {
                       return is_digit(c) || (c >= 'a' && c <= 'f');
                     });
  if (!legal) return invalid(field, "must be 64 lower-case hex digits");
  return {};
}

Result<void> check_image_reference(const Field& field, std::string_view value) {
  const bool legal = !value.empty() && value.size() <= 512 &&
                     (is_letter(value[0]) || is_digit(value[0])) && consists_of(value, [](char c) {
                       return is_letter(c) || is_digit(c) ||
                              std::string_view("._-/:@").find(c) != std::string_view::npos;
                     });
  if (!legal || has_dot_dot(value) || value.find("//") != std::string_view::npos) {
    return invalid(field, "must be NAME[:TAG], NAME@sha256:DIGEST or sha256:DIGEST");
  }
  return {};
}

Result<void> check_cpu_list(const Field& field, std::string_view value) {
  constexpr unsigned kMost = 8191;
  const Error bad = invalid(field, "must be a list like 0-1,3");
  if (value.empty() || value.size() > 4096) return bad;
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view part = value.substr(0, comma);
    const size_t dash = part.find('-');
    unsigned first = 0, last = 0;
    if (!parse_number(part.substr(0, dash), first)) return bad;
    last = first;
    if (dash != std::string_view::npos && !parse_number(part.substr(dash + 1), last)) return bad;
    if (first > last || last > kMost) return bad;
    if (comma == std::string_view::npos) return {};
    value.remove_prefix(comma + 1);
  }
}

Result<void> check_sysctl(const Field& field, std::string_view name, std::string_view value,
                          bool private_network, bool private_ipc) {
  constexpr std::string_view kIpc[] = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                       "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                       "kernel.shmmni", "kernel.shm_rmid_forced"};
  const bool charset = !name.empty() && name.size() <= 256 && consists_of(name, [](char c) {
    return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-';
  }) && name.find("..") == std::string_view::npos;
  const bool ipc = std::find(std::begin(kIpc), std::end(kIpc), name) != std::end(kIpc) ||
                   name.starts_with("fs.mqueue.");
  const bool network = name.starts_with("net.");
  if (!charset || (!ipc && !network)) {
    return invalid(field, cat("'", charset ? name : "?",
                              "' is not a setting of a namespace (net.…, fs.mqueue.…, kernel.shm…, "
                              "kernel.msg…, kernel.sem)"));
  }
  if (network && !private_network) {
    return invalid(field, cat("'", name,
                              "' would change the host: the container has the host's or "
                              "another container's network"));
  }
  if (ipc && !private_ipc) {
    return invalid(field, cat("'", name,
                              "' would change the host: the container has no IPC "
                              "namespace of its own"));
  }
  return check_line(field, value, 1024);
}

Result<int> parse_capability(const Field& field, std::string_view name) {
  std::string wanted = upper(name.substr(0, 64));
  if (wanted.starts_with("CAP_")) wanted.erase(0, 4);
  for (size_t i = 0; i < std::size(kCapabilityNames); ++i) {
    if (wanted == kCapabilityNames[i]) return static_cast<int>(i);
  }
  return invalid(field, cat("'", name.substr(0, 64), "' is no capability of capabilities(7)"));
}

int last_capability() { return static_cast<int>(std::size(kCapabilityNames)) - 1; }

Result<int> parse_signal_name(const Field& field, std::string_view text) {
  const Error bad = invalid(field, "is no signal; legal: TERM, SIGTERM, RTMIN+3, 15");
  int number = 0;
  if (parse_number(text, number)) {
    if (number >= 1 && number <= SIGRTMAX) return number;
    return bad;
  }
  std::string name = upper(text.substr(0, 32));
  if (name.starts_with("SIG")) name.erase(0, 3);
  if (name == "RTMIN") return SIGRTMIN;
  if (name == "RTMAX") return SIGRTMAX;
  if (name.starts_with("RTMIN+") && parse_number(std::string_view(name).substr(6), number) &&
      number >= 0 && number <= SIGRTMAX - SIGRTMIN) {
    return SIGRTMIN + number;
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return bad;
}

Result<int> parse_rlimit_name(const Field& field, std::string_view name) {
  for (const auto& [known, number] : kRlimits) {
    if (name == known) return number;
  }
  return invalid(field, "is no resource of getrlimit(2), like nofile or core");
}
}  // namespace gantry::wire
