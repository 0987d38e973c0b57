#include "executor/cli/bundle.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "base/sys.h"
#include "base/tar_writer.h"
#include "executor/cli/download.h"
#include "base/hide_secrets.h"
#include "executor/cli/print.h"
#include "executor/version.h"

extern char** environ;

namespace gantry::cli {
namespace {
constexpr size_t kMostLog = 256u << 10;
constexpr size_t kMostFile = 1u << 20;
constexpr int kAnswerSeconds = 10;
constexpr std::string_view kConfigFile = "/etc/gantry/config.json";

constexpr std::string_view kReadme =
    "What `gantry doctor --bundle` found on this host, to be handed in with a report.\n"
    "\n"
    "Left out: what is in containers and images, the containers' output, environment variables "
    "but\n"
    "for their names. [hidden] stands for what looks like a secret: values of names such as\n"
    "password, token or key, what follows a flag of such a name, tokens known by their looks, "
    "user\n"
    "and password of an address; in containers' commands and labels also values of variables "
    "(but\n"
    "numbers, switches and paths), long words of mixed letters and digits, what known clients take "
    "as a password (mysql -pWORD, curl -u\n"
    "USER:WORD), and after any -p, -w and -a words of letters and digits. Host names, paths, "
    "addresses, names of containers and images are in it: read it "
    "before\n"
    "you hand it on.\n";

// What the executor that runs now says, or why it does not.
class Asker {
 public:
  explicit Asker(Session& session) : session_(session) {}
  std::string ask(const std::string& call) {
    // One that hangs is asked once.
    if (!silence_.empty()) return silence_;
    Result<Connection> connection = session_.connect_to_running();
    const Result<std::string> said =
        connection ? ask_in_time(*connection, call) : Result<std::string>(connection.error());
    if (said) return *said;
    silence_ = said.error().to_string() + "\n";
    return silence_;
  }
  // An answer in JSON, indented.
  std::string ask_json(std::string_view type) {
    const std::string body = ask(cat(R"({"type":")", type, R"("})"));
    const Result<JsonDocument> json = parse_json(body, "the answer");
    return hide_secrets(json ? to_pretty_text(*json) + "\n" : body, TextIs::log);
  }

 private:
  Session& session_;
  std::string silence_;
};

// What a container was told is its owner's matter.
void hide_words(Json& container, JsonDocument::AllocatorType& allocator) {
  if (const auto command = container.FindMember("command");
      command != container.MemberEnd() && command->value.IsArray()) {
    // Together, as a word says what the next one is.
    std::vector<std::string> words;
    for (const Json& word : command->value.GetArray()) words.emplace_back(word.GetString());
    command->value.SetString(hide_secrets(words).c_str(), allocator);
  }
  if (const auto labels = container.FindMember("labels");
      labels != container.MemberEnd() && labels->value.IsObject()) {
    for (auto& label : labels->value.GetObject()) {
      if (!label.value.IsString()) continue;
      const std::string pair = hide_secrets(
          cat(label.name.GetString(), "=", label.value.GetString()), TextIs::arguments);
      const std::string value = pair.substr(std::min(pair.find('=') + 1, pair.size()));
      label.value.SetString(value.c_str(), allocator);
    }
  }
}

std::string containers(Asker& asker) {
  const std::string body = asker.ask(R"({"type":"GANTRY_LIST","gantry_list":{"all":true}})");
  Result<JsonDocument> json = parse_json(body, "the answer");
  if (!json) return hide_secrets(body, TextIs::log);
  Json* list = const_cast<Json*>(find(*json, "gantry_list.containers"));
  if (list == nullptr) return "none\n";
  for (Json& container : list->GetArray()) hide_words(container, json->GetAllocator());
  return to_pretty_text(*list) + "\n";
}

std::string file(const std::string& path, size_t most = kMostFile) {
  const Result<std::string> text = sys::read_file(path, most);
  return text ? hide_secrets(*text, TextIs::log) : text.error().to_string() + "\n";
}

std::string tail(const std::string& path, size_t most) {
  const Result<UniqueFd> log = sys::open(path, O_RDONLY | O_NONBLOCK);
  struct ::stat status = {};
  if (!log) return log.error().to_string() + "\n";
  if (::fstat(log->get(), &status) != 0 || !S_ISREG(status.st_mode)) return path + ": no file\n";
  const auto size = static_cast<uint64_t>(status.st_size);
  std::string text(std::min<uint64_t>(size, most), '\0');
  const ssize_t n =
      ::pread(log->get(), text.data(), text.size(), static_cast<off_t>(size - text.size()));
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  // From a line's beginning.
  if (size > text.size()) text.erase(0, std::min(text.find('\n') + 1, text.size()));
  return hide_secrets(text, TextIs::log);
}

// Where an executor of this location keeps what outlives it, as its settings say.
std::string data_dir() {
  const char* const variable = std::getenv("GANTRY_DATA_DIR");
  if (variable != nullptr && variable[0] != '\0') return variable;
  const std::string config = sys::read_file(std::string(kConfigFile)).value_or(std::string());
  const Result<JsonDocument> json = parse_json(config, "configuration");
  return json ? text_of(*json, "data_dir", "/var/lib/gantry") : "/var/lib/gantry";
}

std::string environment() {
  std::string out = "Environment, names only:";
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("GANTRY_")) out += cat(" ", text.substr(0, text.find('=')));
  }
  return out + "\n";
}

std::string names_in(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  std::string out = path + ":";
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    if (entry->d_name[0] != '.') out += cat(" ", entry->d_name);
  }
  return out + (directory ? "\n" : " cannot be read\n");
}

std::string host() {
  utsname name = {};
  ::uname(&name);
  return cat("gantry ", kVersion, "\n", name.sysname, " ", name.release, " ", name.version, " ",
             name.machine, "\nCPUs: ", ::sysconf(_SC_NPROCESSORS_ONLN), ", user ", ::geteuid(),
             "\n\n", file("/etc/os-release"), "\n", file("/proc/meminfo"), "\n",
             file("/proc/uptime"), file("/proc/loadavg"), file("/proc/self/limits"));
}
}  // namespace

Result<std::string> ask_in_time(Connection& connection, const std::string& call) {
  const timeval limit = {kAnswerSeconds, 0};
  ::setsockopt(connection.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  GANTRY_TRY(connection.send(Connection::format(api_request(call))));
  Result<HttpResponse> response = connection.receive();
  if (!response && response.error().is_errno(EAGAIN)) {
    return Error(Errc::timed_out, cat("it has not answered for ", kAnswerSeconds, " seconds"));
  }
  if (!response) return std::move(response).error();
  return std::move(response->body);
}

std::string bundle_name() {
  const time_t now = ::time(nullptr);
  tm local = {};
  ::localtime_r(&now, &local);
  char text[64];
  return {text, ::strftime(text, sizeof text, "gantry-report-%Y%m%d-%H%M%S.tar", &local)};
}

Result<void> write_bundle(Session& session, const std::string& findings, const std::string& path) {
  OutputFile out = GANTRY_TRY(OutputFile::open(path));
  TarWriter tar([&out](std::string_view bytes) { return out.write(bytes); });
  Asker asker(session);
  const std::string runtime = session.location().runtime_dir, data = data_dir();
  const std::pair<const char*, std::string> parts[] = {
      {"README.txt", std::string(kReadme)},
      {"doctor.txt", hide_secrets(findings, TextIs::log)},
      {"host.txt", host()},
      {"version.json", asker.ask_json("GET_VERSION")},
      {"mounts.txt", file("/proc/self/mountinfo", 16u << 20)},
      {"cgroups.txt", cat(file("/proc/self/cgroup"), "\n", file("/proc/cgroups"),
                          "\ncgroup.controllers: ", file("/sys/fs/cgroup/cgroup.controllers"))},
      {"config.txt", cat(kConfigFile, ":\n", file(std::string(kConfigFile)), "\n", environment())},
      {"settings.json", asker.ask_json("GET_FLAGS")},
      {"metrics.json",
       hide_secrets(asker.ask(R"({"type":"GET_METRICS","get_metrics":{}})"), TextIs::log) + "\n"},
      {"containers.json", containers(asker)},
      {"images.json", asker.ask_json("GANTRY_IMAGES")},
      {"directories.txt",
       cat(names_in(runtime), names_in(runtime + "/containers"), names_in(data))},
      {"executor.log", tail(data + "/executor.log", kMostLog)}};
  for (const auto& [name, text] : parts) {
    GANTRY_TRY(tar.add_bytes(cat("gantry-report/", name), text));
  }
  GANTRY_TRY(tar.finish());
  return out.commit();
}
}  // namespace gantry::cli
