#include "executor/cli/run_devices.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <memory>

#include "base/sys.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kAccess = "rwm";
// Every container has these, and the directories below /dev of its own.
constexpr std::string_view kOwn[] = {"/dev/null",    "/dev/zero", "/dev/full",  "/dev/random",
                                     "/dev/urandom", "/dev/tty",  "/dev/ptmx",  "/dev/console",
                                     "/dev/pts",     "/dev/shm",  "/dev/mqueue"};

struct Device {
  std::string place;
  struct ::stat status = {};
  bool is_block() const { return S_ISBLK(status.st_mode); }
};

Result<struct ::stat> look_at(std::string_view flag, std::string_view word,
                              const std::string& path) {
  struct ::stat status = {};
  if (::stat(path.c_str(), &status) != 0) return Error::from_errno(errno, cat(flag, " ", word));
  return status;
}

void write_number(JsonWriter& json, const struct ::stat& status) {
  json.integer("major_number", gnu_dev_major(status.st_rdev));
  json.integer("minor_number", gnu_dev_minor(status.st_rdev));
}

void write_device(JsonWriter& json, const Device& device) {
  json.open().text("path", device.place).text("type", device.is_block() ? "b" : "c");
  write_number(json, device.status);
  json.integer("mode", device.status.st_mode & 0777);
  json.integer("uid", device.status.st_uid).integer("gid", device.status.st_gid).close();
}

// All of this host's below `directory`, links aside.
void collect(const std::string& directory, std::vector<Device>& out) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), &::closedir);
  while (const dirent* entry = open ? ::readdir(open.get()) : nullptr) {
    const std::string path = cat(directory, "/", entry->d_name);
    const bool is_own = std::ranges::find(kOwn, path) != std::end(kOwn);
    struct ::stat status = {};
    if (entry->d_name[0] == '.' || is_own || ::lstat(path.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) collect(path, out);
    if (S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode)) out.push_back({path, status});
  }
}

bool is_access(std::string_view text) {
  return !text.empty() && text.find_first_not_of(kAccess) == text.npos;
}

struct AskedDevice {
  Device device;
  std::string access;
};
// PATH[:PLACE][:rwm]
Result<AskedDevice> parse_device(const std::string& word) {
  std::vector<std::string_view> parts = split_words(word, ':');
  AskedDevice out{.device = {}, .access = std::string(kAccess)};
  if (parts.size() > 1 && is_access(parts.back())) {
    out.access = parts.back();
    parts.pop_back();
  }
  if (parts.size() > 2 || parts[0].empty()) {
    return usage_error(cat("--device ", word, ": write PATH[:PLACE][:rwm], e.g. /dev/fuse:rw"));
  }
  out.device.place = parts.back();
  if (!out.device.place.starts_with("/dev/")) {
    return usage_error(cat("--device ", word, ": its place in the container is below /dev, not \"",
                           out.device.place, "\""));
  }
  if (std::ranges::find(kOwn, out.device.place) != std::end(kOwn)) {
    return usage_error(cat("--device ", word, ": every container has ", out.device.place));
  }
  out.device.status = GANTRY_TRY(look_at("--device", word, std::string(parts[0])));
  if (!S_ISBLK(out.device.status.st_mode) && !S_ISCHR(out.device.status.st_mode)) {
    return usage_error(cat("--device ", word, ": ", parts[0], " is no device"));
  }
  return out;
}

// What a device may not be used for, of one that is there with all of it.
void write_denial(JsonWriter& json, const AskedDevice& asked) {
  std::string missing;
  for (const char letter : kAccess) {
    if (asked.access.find(letter) == std::string::npos) missing += letter;
  }
  if (missing.empty()) return;
  json.open().text("type", asked.device.is_block() ? "b" : "c");
  write_number(json, asked.device.status);
  json.text("access", missing).boolean("allow", false).close();
}

// "c 10:* rw"
Result<void> write_rule(JsonWriter& json, const std::string& word) {
  const std::vector<std::string_view> parts = split_words(word, ' ');
  const auto number = parts.size() == 3 ? cut(parts[1], ':') : std::nullopt;
  const bool is_rule = number && (parts[0] == "b" || parts[0] == "c") && is_access(parts[2]);
  uint32_t major_number = 0, minor_number = 0;
  const auto is_number = [](std::string_view text, uint32_t& value) {
    return text == "*" || parse_number(text, value);
  };
  if (!is_rule || !is_number(number->key, major_number) ||
      !is_number(number->value, minor_number)) {
    return usage_error(
        cat("--device-cgroup-rule \"", word,
            "\": write b or c, MAJOR:MINOR (* is any), and of rwm, e.g. 'c 10:* rw'"));
  }
  json.open().text("type", parts[0]);
  if (number->key != "*") json.integer("major_number", major_number);
  if (number->value != "*") json.integer("minor_number", minor_number);
  json.text("access", parts[2]).close();
  return {};
}

enum class Rate { bytes, operations };
Result<void> write_throttles(JsonWriter& json, std::string_view key, std::string_view flag,
                             Rate kind, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  json.open_list(key);
  for (const std::string& word : words) {
    const size_t colon = word.rfind(':');
    if (colon == word.npos || colon == 0) {
      return usage_error(
          cat(flag, " ", word, ": write DEVICE:",
              kind == Rate::bytes ? "SIZE, e.g. /dev/sda:10m" : "N, e.g. /dev/sda:100"));
    }
    const std::string what = cat(flag, " ", word, ": the rate");
    const std::string_view text = std::string_view(word).substr(colon + 1);
    const uint64_t rate = kind == Rate::bytes ? GANTRY_TRY(parse_bytes(what, text))
                                              : GANTRY_TRY(whole_number<uint32_t>(what, text));
    if (rate == 0) return usage_error(cat(what, " is above 0"));
    const struct ::stat status = GANTRY_TRY(look_at(flag, word, word.substr(0, colon)));
    if (!S_ISBLK(status.st_mode)) {
      return usage_error(cat(flag, " ", word, ": ", word.substr(0, colon), " is no disk"));
    }
    json.open();
    write_number(json, status);
    json.integer("rate", static_cast<int64_t>(rate)).close();
  }
  json.close_list();
  return {};
}
}  // namespace

Result<void> write_devices(JsonWriter& json, const RunOptions& options) {
  std::vector<Device> devices;
  if (options.privileged) collect("/dev", devices);
  for (const std::string& word : options.devices) {
    AskedDevice asked = GANTRY_TRY(parse_device(word));
    const auto it = std::ranges::find(devices, asked.device.place, &Device::place);
    if (it == devices.end()) {
      devices.push_back(std::move(asked.device));
    } else if (!options.privileged) {
      return usage_error(cat("--device ", word, ": another one has the place ", it->place));
    }
  }
  if (devices.empty()) return {};
  json.open_list("devices");
  for (const Device& device : devices) write_device(json, device);
  json.close_list();
  return {};
}

Result<void> write_device_limits(JsonWriter& json, const RunOptions& options) {
  if (!options.blkio_weight.empty()) {
    json.integer("blkio_weight",
                 GANTRY_TRY(whole_number<uint32_t>("--blkio-weight", options.blkio_weight)));
  }
  GANTRY_TRY(write_throttles(json, "read_bps", "--device-read-bps", Rate::bytes, options.read_bps));
  GANTRY_TRY(
      write_throttles(json, "write_bps", "--device-write-bps", Rate::bytes, options.write_bps));
  GANTRY_TRY(write_throttles(json, "read_iops", "--device-read-iops", Rate::operations,
                             options.read_iops));
  GANTRY_TRY(write_throttles(json, "write_iops", "--device-write-iops", Rate::operations,
                             options.write_iops));
  if (options.devices.empty() && options.device_rules.empty() && !options.privileged) return {};
  json.open_list("device_rules");
  if (options.privileged) json.open().text("type", "a").text("access", kAccess).close();
  for (const std::string& word : options.devices) {
    write_denial(json, GANTRY_TRY(parse_device(word)));
  }
  for (const std::string& word : options.device_rules) GANTRY_TRY(write_rule(json, word));
  json.close_list();
  return {};
}
}  // namespace gantry::cli
