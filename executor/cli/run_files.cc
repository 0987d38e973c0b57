#include "executor/cli/run_files.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/hide_secrets.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"

namespace gantry::cli {
namespace {
// `others`: what else is known where it is given.
Result<void> mount_option(JsonWriter& json, std::string_view flag, std::string_view option,
                          std::string_view others = {}) {
  static constexpr auto kPropagations = std::to_array<Pair>({{"private", "PRIVATE"},
                                                             {"rprivate", "RPRIVATE"},
                                                             {"slave", "SLAVE"},
                                                             {"rslave", "RSLAVE"},
                                                             {"shared", "SHARED"},
                                                             {"rshared", "RSHARED"}});
  if (option == "rw" || option.empty()) return {};
  if (option == "ro") {
    json.boolean("read_only", true);
    return {};
  }
  if (option == "nosuid" || option == "nodev" || option == "noexec") {
    json.boolean(option, true);
    return {};
  }
  if (option == "bind" || option == "rbind") {
    json.boolean("recursive", option == "rbind");
    return {};
  }
  if (const auto* it = std::ranges::find(kPropagations, option, &Pair::key);
      it != kPropagations.end()) {
    json.text("propagation", it->value);
    return {};
  }
  return usage_error(cat(flag, ": unknown option \"", option, "\". Known: ", others,
                         "ro, rw, nosuid, nodev, noexec, bind, rbind, private, rprivate, "
                         "slave, rslave, shared, rshared"));
}

// z and Z give the source an SELinux label; where there is no SELinux there is nothing to be done.
bool asks_for_label(std::string_view option) { return option == "z" || option == "Z"; }
bool has_selinux() { return ::access("/sys/fs/selinux/enforce", F_OK) == 0; }

// SOURCE:DESTINATION[:OPTIONS]; a SOURCE without a slash that does not begin with a dot is the name
// of a volume.
Result<void> write_volume(JsonWriter& json, const std::string& word) {
  const std::vector<std::string_view> parts = split_words(word, ':');
  if (parts.size() > 3)
    return usage_error(cat("-v ", word, ": write SOURCE:DESTINATION[:OPTIONS]"));
  const std::string_view destination = parts.size() == 1 ? parts[0] : parts[1];
  if (!destination.starts_with('/')) {
    return usage_error(cat("-v ", word, ": the place in the container must begin with a slash"));
  }
  json.open();
  if (parts.size() == 1) {
    json.text("type", "VOLUME");
  } else if (parts[0].empty()) {
    return usage_error(cat("-v ", word, ": the source is empty"));
  } else if (parts[0][0] == '.' || parts[0].find('/') != std::string_view::npos) {
    json.text("type", "BIND").text("source", absolute_path(parts[0]));
  } else {
    json.text("type", "VOLUME").text("source", parts[0]);
  }
  json.text("destination", destination);
  if (parts.size() == 3) {
    for (const std::string_view option : split_words(parts[2], ',')) {
      if (asks_for_label(option) && !has_selinux()) continue;
      GANTRY_TRY(mount_option(json, cat("-v ", word), option));
    }
  }
  json.close();
  return {};
}

Result<int64_t> octal_mode(std::string_view flag, std::string_view value) {
  char* end = nullptr;
  const std::string text(value);
  const unsigned long mode = ::strtoul(text.c_str(), &end, 8);
  if (!text.empty() && *end == '\0' && mode <= 07777) return static_cast<int64_t>(mode);
  return usage_error(cat(flag, ": mode is octal, like 1777"));
}

// DESTINATION[:size=64m,mode=1777,ro,noexec…]
Result<void> write_tmpfs(JsonWriter& json, const std::string& word) {
  const auto parts = cut(word, ':');
  const std::string_view destination = parts ? parts->key : std::string_view(word);
  if (!destination.starts_with('/')) {
    return usage_error(cat("--tmpfs ", word, ": the place must begin with a slash"));
  }
  json.open().text("type", "TMPFS").text("destination", destination);
  for (const std::string_view option :
       parts ? split_words(parts->value, ',') : std::vector<std::string_view>()) {
    const auto pair = cut(option, '=');
    if (pair && pair->key == "size") {
      json.integer("size_bytes", static_cast<int64_t>(GANTRY_TRY(
                                     parse_bytes(cat("--tmpfs ", word, ": size"), pair->value))));
    } else if (pair && pair->key == "mode") {
      json.integer("mode", GANTRY_TRY(octal_mode(cat("--tmpfs ", word), pair->value)));
    } else if (option != "exec" && option != "suid" && option != "dev") {
      GANTRY_TRY(mount_option(json, cat("--tmpfs ", word), option, "size=SIZE, mode=OCTAL, "));
    }
  }
  json.close();
  return {};
}

// One of the parts of a --mount; false: no key of this name.
Result<bool> mount_part(JsonWriter& json, const std::string& flag, std::string_view key,
                        std::string_view value) {
  if (key == "target" || key == "destination" || key == "dst") {
    if (!value.starts_with('/')) {
      return usage_error(cat(flag, ": the place in the container must begin with a slash"));
    }
    json.text("destination", value);
  } else if (key == "readonly" || key == "ro") {
    if (value != "" && value != "true" && value != "1" && value != "false" && value != "0") {
      return usage_error(cat(flag, ": ", key, " is true or false, not \"", value, "\""));
    }
    if (value != "false" && value != "0") json.boolean("read_only", true);
  } else if (key == "bind-propagation") {
    GANTRY_TRY(mount_option(json, flag, value));
  } else if (key == "tmpfs-size") {
    json.integer("size_bytes",
                 static_cast<int64_t>(GANTRY_TRY(parse_bytes(cat(flag, ": tmpfs-size"), value))));
  } else if (key == "tmpfs-mode") {
    json.integer("mode", GANTRY_TRY(octal_mode(flag, value)));
  } else {
    return false;
  }
  return true;
}

// Docker's: type=bind|volume|tmpfs,source=…,target=…[,readonly][,…]
Result<void> write_mount(JsonWriter& json, const std::string& word) {
  const std::string flag = cat("--mount ", word);
  std::string_view type = "volume", source;
  bool has_target = false;
  json.open();
  for (const std::string_view part : split_words(word, ',')) {
    const Pair pair = cut(part, '=').value_or(Pair{part, ""});
    if (pair.key == "type") {
      type = pair.value;
    } else if (pair.key == "source" || pair.key == "src") {
      source = pair.value;
    } else if (!GANTRY_TRY(mount_part(json, flag, pair.key, pair.value))) {
      return usage_error(cat(flag, ": unknown key \"", pair.key,
                             "\". Known: type, source, target, readonly, bind-propagation, "
                             "tmpfs-size, tmpfs-mode"));
    } else {
      has_target = has_target || pair.value.starts_with('/');
    }
  }
  if (!has_target) return usage_error(cat(flag, ": needs target=PLACE"));
  if (type == "bind") {
    if (source.empty()) return usage_error(cat(flag, ": type=bind needs source=PATH"));
    json.text("type", "BIND").text("source", absolute_path(source));
  } else if (type == "volume") {
    json.text("type", "VOLUME");
    if (!source.empty()) json.text("source", source);
  } else if (type == "tmpfs") {
    if (!source.empty()) return usage_error(cat(flag, ": type=tmpfs has no source"));
    json.text("type", "TMPFS");
  } else {
    return usage_error(cat(flag, ": type is bind, volume or tmpfs, not \"", type, "\""));
  }
  json.close();
  return {};
}

// URI#sha256=HEX[&extract][&executable][&name=FILE]
Result<void> write_uri(JsonWriter& json, const std::string& word) {
  const auto parts = cut(word, '#');
  std::string uri(parts ? parts->key : std::string_view(word));
  if (uri.empty()) return usage_error("--uri needs a value: URI#sha256=HEX");
  const size_t scheme = uri.find("://");
  if (scheme == uri.npos) {
    uri = cat("file://", absolute_path(uri));
  } else if (const std::string_view begin = std::string_view(uri).substr(0, scheme);
             begin != "file" && begin != "http" && begin != "https") {
    return usage_error(cat("--uri ", hide_uri_secrets(word), ": fetched are file, http and https"));
  }
  json.open().text("uri", uri);
  for (const std::string_view part :
       parts ? split_words(parts->value, '&') : std::vector<std::string_view>()) {
    const auto pair = cut(part, '=');
    if (pair && pair->key == "sha256") {
      json.text("sha256", pair->value);
    } else if (pair && pair->key == "name") {
      json.text("output_file", pair->value);
    } else if (part == "extract" || part == "executable") {
      json.boolean(part, true);
    } else {
      return usage_error(cat("--uri ", hide_uri_secrets(word),
                             ": after # only sha256=HEX, extract, executable and "
                             "name=FILE, joined by &"));
    }
  }
  json.close();
  return {};
}
}  // namespace

Result<void> write_mounts(JsonWriter& json, const RunOptions& options) {
  const std::string& shm = options.shm_size;
  if (options.volumes.empty() && options.tmpfs.empty() && options.mounts.empty() && shm.empty()) {
    return {};
  }
  json.open_list("mounts");
  for (const std::string& word : options.volumes) GANTRY_TRY(write_volume(json, word));
  for (const std::string& word : options.tmpfs) GANTRY_TRY(write_tmpfs(json, word));
  for (const std::string& word : options.mounts) GANTRY_TRY(write_mount(json, word));
  if (!shm.empty()) {
    json.open().text("type", "TMPFS").text("destination", "/dev/shm").integer("mode", 01777);
    const uint64_t size = GANTRY_TRY(parse_bytes("--shm-size", shm));
    if (size == 0) return usage_error(cat("--shm-size ", shm, ": must be above 0"));
    json.integer("size_bytes", static_cast<int64_t>(size));
    for (const char* option : {"nosuid", "nodev", "noexec"}) json.boolean(option, true);
    json.close();
  }
  json.close_list();
  return {};
}

Result<void> write_uris(JsonWriter& json, const std::vector<std::string>& uris) {
  if (uris.empty()) return {};
  json.open_list("uris");
  for (const std::string& word : uris) GANTRY_TRY(write_uri(json, word));
  json.close_list();
  json.text("sandbox_mount", "/mnt/mesos/sandbox");
  return {};
}
}  // namespace gantry::cli
