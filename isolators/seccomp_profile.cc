#include "isolators/seccomp_profile.h"

#include <errno.h>
#include <seccomp.h>

#include <algorithm>

#include "base/cgroup_fs.h"

namespace gantry {
namespace {
constexpr const char kDefaultProfile[] =
#include "isolators/data/seccomp_default.inc"
    ;

struct TableRow {
  std::string_view name;
  int x86_64, i386;
};
constexpr TableRow kTable[] = {
#include "isolators/data/syscalls.inc"
};

// Those the profiles speak of.
constexpr std::pair<std::string_view, int> kCapabilities[] = {
    {"CAP_DAC_READ_SEARCH", 2}, {"CAP_SYS_MODULE", 16},     {"CAP_SYS_RAWIO", 17},
    {"CAP_SYS_CHROOT", 18},     {"CAP_SYS_PTRACE", 19},     {"CAP_SYS_PACCT", 20},
    {"CAP_SYS_ADMIN", 21},      {"CAP_SYS_BOOT", 22},       {"CAP_SYS_NICE", 23},
    {"CAP_SYS_TIME", 25},       {"CAP_SYS_TTY_CONFIG", 26}, {"CAP_AUDIT_WRITE", 29},
    {"CAP_SYSLOG", 34},         {"CAP_PERFMON", 38},        {"CAP_BPF", 39}};

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  for (std::string_view word : split(line, ' ')) {
    if (!word.empty()) out.push_back(word);
  }
  return out;
}

bool parse_integer(std::string_view text, uint64_t& out) {
  const int base = text.starts_with("0x") ? 16 : 10;
  if (base == 16) text.remove_prefix(2);
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc{} && end == text.data() + text.size();
}

// One line of an allow-args section: `index == value [& mask]`.
std::optional<SeccompArg> parse_arg(const std::vector<std::string_view>& parts) {
  uint64_t index = 0, value = 0, mask = 0;
  if (parts.size() < 3 || !parse_integer(parts[0], index) || index > 5 || parts[1] != "==" ||
      !parse_integer(parts[2], value)) {
    return std::nullopt;
  }
  if (parts.size() == 3) return SeccompArg{static_cast<unsigned>(index), SCMP_CMP_EQ, value, 0};
  if (parts.size() != 5 || parts[3] != "&" || !parse_integer(parts[4], mask)) return std::nullopt;
  return SeccompArg{static_cast<unsigned>(index), SCMP_CMP_MASKED_EQ, mask, value};
}

class TextParser {
 public:
  Result<SeccompProfile> parse(std::string_view text) {
    profile_.default_action = SCMP_ACT_ERRNO(EPERM);
    int number = 0;
    for (std::string_view line : split(text, '\n')) {
      ++number;
      if (trim(line).empty() || line[0] == '#') continue;
      const auto parts = words(line);
      if (!(line.starts_with("  ") ? entry(parts) : section(parts))) {
        return Error(Errc::corrupt,
                     cat("seccomp profile, line ", number, ": ", line.substr(0, 80)));
      }
    }
    return std::move(profile_);
  }

 private:
  bool section(const std::vector<std::string_view>& parts) {
    kind_ = parts[0];
    needs_ = unless_ = 0;
    errno_ = 0;
    arg_name_.clear();
    size_t at = 1;
    if (kind_ == "allow-args" && at < parts.size()) arg_name_ = parts[at++];
    if (kind_ == "errno" && (at >= parts.size() || !parse_integer(parts[at++], errno_)))
      return false;
    if (kind_ != "allow" && kind_ != "allow-args" && kind_ != "errno" && kind_ != "forbid") {
      return false;
    }
    for (; at + 1 < parts.size(); at += 2) {
      const auto capability =
          std::ranges::find(kCapabilities, parts[at + 1], &std::pair<std::string_view, int>::first);
      if (capability == std::end(kCapabilities)) return false;
      const uint64_t bit = uint64_t{1} << capability->second;
      if (parts[at] == "cap") {
        needs_ |= bit;
      } else if (parts[at] == "unless") {
        unless_ |= bit;
      } else {
        return false;
      }
    }
    return at == parts.size();
  }

  bool entry(const std::vector<std::string_view>& parts) {
    SeccompRule rule{.names = {}, .action = SCMP_ACT_ALLOW, .args = {}};
    rule.needs_capabilities = needs_;
    rule.unless_capabilities = unless_;
    if (kind_ == "allow-args") {
      const auto arg = parse_arg(parts);
      if (!arg) return false;
      rule.names = {arg_name_};
      rule.args = {*arg};
      profile_.rules.push_back(std::move(rule));
      return true;
    }
    for (std::string_view name : parts) {
      if (!syscall_numbers(name)) return false;
      if (kind_ == "forbid") {
        profile_.known.emplace_back(name);
      } else {
        rule.names.emplace_back(name);
      }
    }
    if (kind_ == "errno") rule.action = SCMP_ACT_ERRNO(static_cast<uint16_t>(errno_));
    if (kind_ != "forbid") profile_.rules.push_back(std::move(rule));
    return true;
  }

  SeccompProfile profile_;
  std::string kind_, arg_name_;
  uint64_t needs_ = 0, unless_ = 0, errno_ = 0;
};
}  // namespace

const std::map<std::string_view, SyscallNumbers>& all_syscall_numbers() {
  static const auto& table = *[] {
    auto* out = new std::map<std::string_view, SyscallNumbers>;
    for (const TableRow& row : kTable) (*out)[row.name] = {row.x86_64, row.i386};
    return out;
  }();
  return table;
}

std::optional<SyscallNumbers> syscall_numbers(std::string_view name) {
  const auto& table = all_syscall_numbers();
  const auto found = table.find(name);
  if (found == table.end()) return std::nullopt;
  return found->second;
}

Result<SeccompProfile> parse_seccomp_text(std::string_view text) {
  return TextParser().parse(text);
}

const SeccompProfile& default_seccomp_profile() {
  static const SeccompProfile& profile = *[] {
    auto parsed = parse_seccomp_text(kDefaultProfile);
    GANTRY_CHECK(parsed.has_value());
    return new SeccompProfile(std::move(*parsed));
  }();
  return profile;
}
}  // namespace gantry
