#include "executor/agent.h"

#include <glog/logging.h>
#include <glog/vlog_is_on.h>

#include <algorithm>

#include "base/str.h"
#include "executor/settings.h"

namespace gantry {
namespace {
void set_level(int level) {
  if (FLAGS_v == level) return;
  LOG(INFO) << "logging level " << level << ", was " << FLAGS_v;
  FLAGS_v = level;
}
}  // namespace

Agent::Agent(const Config& config, Scheduler& scheduler, const asio::any_io_executor& executor)
    : config_(config), scheduler_(scheduler), first_level_(FLAGS_v), revert_(executor) {}

AgentFacts Agent::facts() {
  AgentFacts out{.id = scheduler_.agent_id(),
                 .hostname = scheduler_.config().hostname,
                 .total = scheduler_.config().total};
  const std::string& address = config_.listen_insecure;
  if (!address.empty()) parse_number(address.substr(address.rfind(':') + 1), out.port);
  return out;
}

std::vector<std::pair<std::string, std::string>> Agent::flags() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const TextSetting& setting : kTextSettings) {
    out.emplace_back(setting_key(setting.flag), config_.*setting.text);
  }
  for (const NumberSetting& setting : kNumberSettings) {
    out.emplace_back(setting_key(setting.flag), cat(config_.*setting.number));
  }
  std::sort(out.begin(), out.end());
  return out;
}

uint32_t Agent::logging_level() { return static_cast<uint32_t>(std::max(0, FLAGS_v)); }

void Agent::set_logging_level(uint32_t level, std::chrono::nanoseconds duration) {
  set_level(static_cast<int>(level));
  revert_.expires_after(duration);
  revert_.async_wait([first = first_level_](boost::system::error_code code) {
    if (!code) set_level(first);
  });
}
}  // namespace gantry
