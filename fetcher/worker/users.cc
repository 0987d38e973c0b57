#include "fetcher/worker/users.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace gantry::worker {
namespace {
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (;;) {
    size_t end = text.find(separator);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

// Calls `use` with the fields of each line that has at least `count` of them, until it says stop.
template <class Use>
void for_each_line(std::string_view text, size_t count, Use use) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    auto fields = split(text.substr(0, end), ':');
    text.remove_prefix(std::min(end + 1, text.size()));
    if (fields.size() >= count && !fields[0].empty() && fields[0][0] != '#' && !use(fields)) return;
  }
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The whole range of ids but the kernel's "no id" (CVE-2024-40635).
Result<uint32_t> parse_id(std::string_view text, const char* what) {
  uint64_t value = 0;
  if (!parse_number(text, value) || value >= std::numeric_limits<uint32_t>::max()) {
    return Error(Errc::invalid, cat("user: ", what, " ", text.substr(0, 40),
                                    " is not a number from 0 to 4294967294"));
  }
  return static_cast<uint32_t>(value);
}

struct User {
  std::string name, home;
  uid_t uid;
  gid_t gid;
};

// By name, or by id when the text is a number.
std::optional<User> find_user(std::string_view passwd, std::string_view text,
                              std::optional<uid_t> uid) {
  std::optional<User> out;
  for_each_line(passwd, 6, [&](const std::vector<std::string_view>& f) {
    uint32_t id = 0, gid = 0;
    if (!parse_number(f[2], id) || !parse_number(f[3], gid)) return true;
    if (uid ? id != *uid : f[0] != text) return true;
    out = User{std::string(f[0]), std::string(f[5]), id, gid};
    return false;
  });
  return out;
}

Result<gid_t> find_group(std::string_view group, std::string_view text) {
  if (is_number(text)) return parse_id(text, "group");
  std::optional<gid_t> out;
  for_each_line(group, 3, [&](const std::vector<std::string_view>& f) {
    uint32_t gid = 0;
    if (f[0] != text || !parse_number(f[2], gid)) return true;
    out = gid;
    return false;
  });
  if (!out) return Error(Errc::not_found, cat("user: no group '", text, "' in the image"));
  return *out;
}

void add_group(Credentials& to, gid_t gid) {
  if (gid != to.gid && std::ranges::find(to.groups, gid) == to.groups.end()) {
    to.groups.push_back(gid);
  }
}

bool is_sane_home(const std::string& home) {
  return home.starts_with('/') && home.size() < 4096 &&
         std::ranges::all_of(home, [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}
}  // namespace

Result<Credentials> resolve_user(std::string_view passwd, std::string_view group,
                                 const UserSpec& user) {
  std::string_view text = user.text, group_text;
  if (size_t colon = text.find(':'); colon != std::string_view::npos) {
    group_text = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  if (text.empty()) text = "0";
  Credentials out;
  std::optional<uid_t> uid;
  if (is_number(text)) uid = GANTRY_TRY(parse_id(text, "uid"));
  auto found = find_user(passwd, text, uid);
  if (!found && !uid) {
    return Error(Errc::not_found, cat("user: no user '", text.substr(0, 100), "' in the image"));
  }
  out.uid = found ? found->uid : *uid;
  out.gid = found ? found->gid : 0;
  out.home = found && is_sane_home(found->home) ? found->home : out.uid == 0 ? "/root" : "/";
  if (!group_text.empty()) {
    out.gid = GANTRY_TRY(find_group(group, group_text));
  } else if (found) {
    for_each_line(group, 4, [&](const std::vector<std::string_view>& f) {
      uint32_t gid = 0;
      if (!parse_number(f[2], gid)) return true;
      auto members = split(f[3], ',');
      if (std::ranges::find(members, found->name) != members.end()) add_group(out, gid);
      return out.groups.size() < 65536;  // NGROUPS_MAX
    });
  }
  for (const std::string& name : user.additional_groups) {
    add_group(out, GANTRY_TRY(find_group(group, name)));
  }
  return out;
}
}  // namespace gantry::worker
