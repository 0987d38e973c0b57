#include "executor/cli/members.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "executor/cli/command.h"
#include "executor/cli/members_table.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kAny = "*";

// "name state exit:GantryExit labels:*"; of a scalar or a list nothing.
std::string_view members_of(std::string_view message) {
  const auto* const found = std::ranges::find(kMessages, message, &MessageMembers::message);
  return found == std::end(kMessages) ? std::string_view() : found->members;
}

std::string_view name_of(std::string_view member) { return member.substr(0, member.find(':')); }

std::vector<std::string_view> words_of(std::string_view members) {
  std::vector<std::string_view> out;
  while (!members.empty()) {
    const size_t end = std::min(members.find(' '), members.size());
    out.push_back(members.substr(0, end));
    members.remove_prefix(std::min(end + 1, members.size()));
  }
  return out;
}

Error no_member(std::string_view path, std::string_view parent, std::string_view message) {
  const std::string what = cat("--format: there is no {{.", path, "}}; ");
  std::string legal;
  for (const std::string_view member : words_of(members_of(message))) {
    legal += cat(legal.empty() ? "" : ", ", name_of(member));
  }
  if (!legal.empty()) return usage_error(cat(what, "there are ", legal));
  return usage_error(cat(what, "{{json .", parent, "}} is all of that"));
}

// ".container.state", or with "json " before it.
Result<std::string> check_path(std::string_view name, std::string_view message) {
  std::string_view path = name.substr(std::min(name.find('.'), name.size()));
  path.remove_prefix(path.empty() ? 0 : 1);
  for (size_t begin = 0; begin < path.size() && message != kAny;) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const auto members = words_of(members_of(message));
    const auto found = std::ranges::find(members, path.substr(begin, end - begin), name_of);
    if (found == members.end()) {
      return no_member(path.substr(0, end), path.substr(0, begin == 0 ? 0 : begin - 1), message);
    }
    message = found->substr(std::min(found->find(':'), found->size() - 1) + 1);
    begin = end + 1;
  }
  return std::string();
}
}  // namespace

Result<void> check_members(std::string_view format, std::string_view message) {
  GANTRY_TRY(fill_in(
      format, ValueOf([message](std::string_view name) { return check_path(name, message); })));
  return {};
}
}  // namespace gantry::cli
