#include <algorithm>

#include "isolators/cgroup_controllers.h"

namespace gantry {
const std::vector<DeviceRule>& DevicesIsolator::default_rules() {
  // As Docker: nodes of any device may be made, only these opened.
  static const std::vector<DeviceRule>& rules = *new std::vector<DeviceRule>{
      {'c', {}, {}, "m"},    {'b', {}, {}, "m"}, {'c', 1, 3, "rwm"} /* null */,
      {'c', 1, 5, "rwm"},    /* zero */
      {'c', 1, 7, "rwm"},    /* full */
      {'c', 1, 8, "rwm"},    /* random */
      {'c', 1, 9, "rwm"},    /* urandom */
      {'c', 5, 0, "rwm"},    /* tty */
      {'c', 5, 2, "rwm"},    /* ptmx */
      {'c', 136, {}, "rwm"}, /* pts/N */
  };
  return rules;
}

std::string DevicesIsolator::to_v1(const DeviceRule& rule) {
  if (rule.type == 'a') return "a *:* rwm";
  std::string access;
  for (char letter : std::string_view("rwm")) {  // the kernel's order
    if (rule.access.find(letter) != std::string::npos) access += letter;
  }
  return cat(rule.type, " ", rule.major ? cat(*rule.major) : "*", ":",
             rule.minor ? cat(*rule.minor) : "*", " ", access);
}

std::vector<CgroupDefault> DevicesIsolator::v1_defaults() {
  std::vector<CgroupDefault> out = {{"devices", "devices.deny", "a"}};
  for (const DeviceRule& rule : default_rules()) {
    out.push_back({"devices", "devices.allow", to_v1(rule)});
  }
  std::string list;
  for (const DeviceRule& rule : default_rules()) list += to_v1(rule) + "\n";
  out.push_back({"devices", "devices.list", list, CgroupDefault::Kind::check});
  return out;
}

Result<void> DevicesIsolator::apply_v1(const LaunchContext& context,
                                       const std::vector<DeviceRule>& extra) {
  if (extra.empty()) return {};  // in place, and read back, since the directory was made
  const std::string name = name_of(context.id);
  bool is_plain = true;  // only allowing rules, none of them for everything
  for (const DeviceRule& rule : extra) {
    is_plain = is_plain && rule.allow && rule.type != 'a';
    GANTRY_TRY(cgroups_
                   .write(name, "devices", rule.allow ? "devices.allow" : "devices.deny",
                          rule.type == 'a' ? "a" : to_v1(rule))
                   .context("device rule ", to_v1(rule)));
  }
  const std::string list = GANTRY_TRY(cgroups_.read(name, "devices", "devices.list"));
  const auto lines = split(list, '\n');
  // KERNEL: rules for one device are merged into one line.
  const auto is_listed = [&](const DeviceRule& rule) {
    const std::string wanted = to_v1(rule);
    const size_t access = wanted.rfind(' ') + 1;
    return std::ranges::any_of(lines, [&](std::string_view line) {
      return line.starts_with(std::string_view(wanted).substr(0, access)) &&
             std::ranges::all_of(wanted.substr(access), [&](char letter) {
               return line.substr(access).find(letter) != std::string_view::npos;
             });
    });
  };
  if (!is_plain) {
    // After denials the list is not the sum of the rules; that it does not allow everything, or
    // that it does where that was asked, is what can be checked.
    const auto all = std::ranges::find_if(extra.rbegin(), extra.rend(),
                                          [](const DeviceRule& r) { return r.type == 'a'; });
    const bool wants_all = all != extra.rend() && all->allow;
    const bool has_all = std::ranges::find(lines, "a *:* rwm") != lines.end();
    if (wants_all == has_all) return {};
    return Error(Errc::conflict, cat("devices.list reads '", list.substr(0, 200), "'"));
  }
  if (!std::ranges::all_of(default_rules(), is_listed) || !std::ranges::all_of(extra, is_listed) ||
      std::ranges::find(lines, "a *:* rwm") != lines.end()) {
    return Error(Errc::conflict, cat("devices.list reads '", list.substr(0, 200), "'"));
  }
  return {};
}

Result<void> DevicesIsolator::apply_v2(const LaunchContext& context,
                                       const std::vector<DeviceRule>& extra) {
  const UniqueFd directory = GANTRY_TRY(cgroups_.open_v2_directory(name_of(context.id)));
  if (!extra.empty()) {
    std::vector<DeviceRule> rules = default_rules();
    rules.insert(rules.end(), extra.begin(), extra.end());
    return GANTRY_TRY(DeviceProgram::load(rules)).attach(directory.get());
  }
  if (!default_program_) default_program_ = GANTRY_TRY(DeviceProgram::load(default_rules()));
  return default_program_->attach(directory.get());
}

Co<Result<void>> DevicesIsolator::prepare(const LaunchContext& context, LaunchPlan::Builder& plan) {
  (void)plan;
  std::vector<DeviceRule> extra;
  for (const DeviceNode& node : context.spec.devices) {
    extra.push_back({node.type, node.major, node.minor, "rwm"});
  }
  const auto& rules = context.spec.resources.device_rules;
  extra.insert(extra.end(), rules.begin(), rules.end());
  co_return cgroups_.has("devices") ? apply_v1(context, extra) : apply_v2(context, extra);
}
}  // namespace gantry
