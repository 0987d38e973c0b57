#include "executor/config.h"

#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <unistd.h>

#include "api/types/container_spec.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "executor/http/router.h"
#include "executor/settings.h"
#include "executor/tls_door.h"
#include "executor/version.h"
#include "network/ipv4.h"

namespace gantry {
namespace {
std::string flag_of(std::string_view flag) { return cat("--", flag); }

std::string variable_of(std::string_view flag) {
  std::string name = setting_key(flag);
  for (char& c : name) c = static_cast<char>(::toupper(static_cast<unsigned char>(c)));
  return "GANTRY_" + name;
}

Result<void> apply_file(const std::string& path, bool must_exist, Config& config) {
  auto text = sys::read_file(path, 1u << 20);
  if (!text) {
    if (!must_exist && text.error().is_errno(ENOENT)) return {};
    return std::move(text).error().context("configuration");
  }
  rapidjson::Document document;
  document.Parse<rapidjson::kParseCommentsFlag | rapidjson::kParseIterativeFlag>(text->data(),
                                                                                 text->size());
  if (document.HasParseError()) {
    return Error(Errc::invalid, cat(path, ": at byte ", document.GetErrorOffset(), ": ",
                                    rapidjson::GetParseError_En(document.GetParseError())));
  }
  if (!document.IsObject()) return Error(Errc::invalid, cat(path, ": must be a JSON object"));
  for (auto& member : document.GetObject()) {
    std::string_view name = member.name.GetString();
    bool known = false;
    for (const NumberSetting& setting : kNumberSettings) {
      if (name != setting_key(setting.flag)) continue;
      if (!member.value.IsInt()) {
        return Error(Errc::invalid, cat(path, ": '", name, "' must be a whole number"));
      }
      config.*setting.number = member.value.GetInt();
      known = true;
    }
    for (const TextSetting& setting : kTextSettings) {
      if (name != setting_key(setting.flag)) continue;
      if (!member.value.IsString()) {
        return Error(Errc::invalid, cat(path, ": '", name, "' must be a string"));
      }
      config.*setting.text = member.value.GetString();
      known = true;
    }
    if (!known) return Error(Errc::invalid, cat(path, ": '", name, "' is no setting of ours"));
  }
  return {};
}

Result<void> apply_environment(Config& config) {
  for (const TextSetting& setting : kTextSettings) {
    if (const char* value = ::getenv(variable_of(setting.flag).c_str())) {
      config.*setting.text = value;
    }
  }
  for (const NumberSetting& setting : kNumberSettings) {
    const std::string variable = variable_of(setting.flag);
    const char* value = ::getenv(variable.c_str());
    if (value == nullptr) continue;
    if (!parse_number(std::string_view(value), config.*setting.number)) {
      return Error(Errc::invalid, cat(variable, " '", value, "': must be a whole number"));
    }
  }
  return {};
}

Result<void> validate_tls(const Config& config) {
  bool names_files = false;
  for (auto [name, value] : {std::pair("--listen-tls-cert", &config.listen_tls_cert),
                             std::pair("--listen-tls-key", &config.listen_tls_key),
                             std::pair("--listen-tls-client-ca", &config.listen_tls_client_ca),
                             std::pair("--listen-tls-crl", &config.listen_tls_crl),
                             std::pair("--listen-tls-token-file", &config.listen_tls_token_file)}) {
    if (value->empty()) continue;
    names_files = true;
    if (value->front() != '/') {
      return Error(Errc::invalid, cat(name, " '", *value, "': must be an absolute path"));
    }
  }
  if (config.listen_tls.empty() && names_files) {
    return Error(Errc::invalid, "--listen-tls-…: nothing listens; give --listen-tls too");
  }
  if (config.listen_tls.empty()) return {};
  if (config.listen_tls_cert.empty() || config.listen_tls_key.empty()) {
    return Error(Errc::invalid, "--listen-tls needs --listen-tls-cert and --listen-tls-key");
  }
  if (!config.listen_tls_crl.empty() && config.listen_tls_client_ca.empty()) {
    return Error(
        Errc::invalid,
        "--listen-tls-crl: says which certificates of --listen-tls-client-ca do not count; "
        "give that too");
  }
  if (config.listen_tls_client_ca.empty() && config.listen_tls_token_file.empty()) {
    return Error(Errc::invalid,
                 "--listen-tls would let in everybody: give --listen-tls-client-ca, "
                 "--listen-tls-token-file or both");
  }
  return {};
}

Result<void> validate(Config& config) {
  GANTRY_TRY(parse_log_size(config.log_max_size).context("--log-max-size"));
  GANTRY_TRY(parse_log_size(config.log_file_max_size).context("--log-file-max-size"));
  if (config.socket.empty()) config.socket = config.runtime_dir + "/gantry.sock";
  for (auto [name, value] :
       {std::pair("--runtime-dir", &config.runtime_dir), std::pair("--data-dir", &config.data_dir),
        std::pair("--socket", &config.socket), std::pair("--cgroup-root", &config.cgroup_root)}) {
    while (value->size() > 1 && value->back() == '/') value->pop_back();
    if (value->empty() || value->front() != '/' || value->find("/../") != std::string::npos ||
        value->ends_with("/..")) {
      return Error(Errc::invalid,
                   cat(name, " '", *value, "': must be an absolute path without '..'"));
    }
  }
  for (const NumberSetting& setting : kNumberSettings) {
    const int value = config.*setting.number;
    if (value < setting.least || value > setting.most) {
      return Error(Errc::invalid, cat(flag_of(setting.flag), " ", value, ": from ", setting.least,
                                      " to ", setting.most));
    }
  }
  if (config.runtime_dir.size() > 80) {
    return Error(Errc::invalid, "--runtime-dir: at most 80 bytes (sockets are made below it)");
  }
  if (!config.network_pool.empty()) {
    GANTRY_TRY(Ipv4Subnet::parse(config.network_pool).context("--network-pool"));
  }
  if (!config.listen_insecure.empty() && !config.listen_insecure.starts_with("127.0.0.1:")) {
    return Error(Errc::invalid, cat("--listen-insecure '", config.listen_insecure,
                                    "': only 127.0.0.1:PORT; other addresses need --listen-tls"));
  }
  return validate_tls(config);
}
}  // namespace

std::string setting_key(std::string_view flag) {
  std::string key(flag);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

Result<FileLimits> own_file_limits(const Config& config) {
  return FileLimits{.max_size = GANTRY_TRY(parse_log_size(config.log_file_max_size)),
                    .max_files = config.log_file_max_files};
}

Result<uint64_t> parse_log_size(std::string_view text) {
  const std::string_view units = "kmg";
  const size_t unit = text.empty() ? units.npos : units.find(text.back());
  std::string_view digits = text;
  if (unit != units.npos) digits.remove_suffix(1);
  uint64_t size = 0;
  const bool is_number = text.empty() || parse_number(digits, size);
  const unsigned shift = unit == units.npos ? 0 : 10 * (static_cast<unsigned>(unit) + 1);
  if (!is_number || size > LogSpec::kMostSize >> shift ||
      (size != 0 && size << shift < LogSpec::kLeastSize)) {
    return Error(Errc::invalid,
                 cat("'", text, "': bytes, or like 512k, 10m, 1g; at least 1k; 0: any"));
  }
  return size << shift;
}

Result<ConfigAnswer> read_config(int argc, char** argv, Config& config) {
  CLI::App app{
      "gantry-executor: the long-lived daemon that runs containers on this host.\n"
      "Usually started by `gantry executor` or on demand by `gantry run`."};
  std::string file;
  bool version = false, list = false, check = false;
  Config flags;
  std::vector<std::pair<CLI::Option*, const TextSetting*>> options;
  app.add_option("--config", file, std::string(kConfigHelp))->type_name("FILE");
  for (const TextSetting& setting : kTextSettings) {
    auto* option =
        app.add_option(flag_of(setting.flag), flags.*setting.text, std::string(setting.help));
    options.emplace_back(option->type_name(std::string(setting.value)), &setting);
  }
  std::vector<std::pair<CLI::Option*, const NumberSetting*>> numbers;
  for (const NumberSetting& setting : kNumberSettings) {
    auto* option =
        app.add_option(flag_of(setting.flag), flags.*setting.number, std::string(setting.help));
    numbers.emplace_back(option->type_name(std::string(setting.value)), &setting);
  }
  app.add_flag("--on-demand", config.on_demand, "started by a client; leave when idle");
  app.add_flag("--here", config.here, "run even outside pid 1's mount, pid and network namespaces");
  app.add_flag("--version", version, "print the version");
  app.add_flag("--check-configuration", check, "say what is wrong with it, and leave");
  app.add_flag("--list-failpoints", list, "print every failpoint, one a line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return ConfigAnswer::printed;
  } catch (const CLI::ParseError& e) {
    return Error(Errc::invalid, cat(e.what(), " (see gantry-executor --help)"));
  }
  if (version) {
    std::cout << "gantry-executor " << kVersion << "\n";
    return ConfigAnswer::printed;
  }
  if (list) {
    for (const std::string& name : failpoint::list_failpoints()) std::cout << name << "\n";
    return ConfigAnswer::printed;
  }
  GANTRY_TRY(apply_file(file.empty() ? std::string(kConfigFile) : file, !file.empty(), config));
  GANTRY_TRY(apply_environment(config));
  for (auto& [option, setting] : options) {
    if (option->count() > 0) config.*setting->text = flags.*setting->text;
  }
  for (auto& [option, setting] : numbers) {
    if (option->count() > 0) config.*setting->number = flags.*setting->number;
  }
  GANTRY_TRY(validate(config));
  if (check) {
    http::Router nobody;
    if (!config.listen_tls.empty()) GANTRY_TRY(TlsDoor::open(config, nobody));
    return ConfigAnswer::printed;
  }
  if (config.on_demand && config.log_file.empty()) {
    config.log_file = config.data_dir + "/executor.log";
  }
  return ConfigAnswer::run;
}
}  // namespace gantry
