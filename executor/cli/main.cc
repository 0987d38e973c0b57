// gantry: the command line. Finds the command, parses its flags, runs it, prints its error.
#include <fcntl.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "executor/cli/command.h"
#include "executor/cli/foreign_flags.h"
#include "executor/cli/help.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
int fail_usage(std::string_view text, std::string_view command) {
  write_error(cat(text, "\nSee 'gantry ", command, command.empty() ? "" : " ", "--help'"));
  return kUsageStatus;
}

// Commands that users of docker and podman bring along.
std::string_view hint_for(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kHints[] = {
      {"build", "images are built elsewhere; `gantry import` takes them"},
      {"container", "its commands are here without it: `gantry ps`, `gantry rm` …"},
      {"history", "here it is `gantry image history`"},
      {"info", "here it is `gantry system info`"},
      {"load", "here it is `gantry image load`"},
      {"login", "there are no registries here; `gantry import` takes images"},
      {"ls", "here it is `gantry ps`"},
      {"network", "there is nothing to manage: `gantry run --network none|host|bridge`"},
      {"port", "`gantry ps` shows the published ports"},
      {"pull", "`skopeo copy docker://IMAGE oci:DIR`, then `gantry import DIR IMAGE`"},
      {"push", "there are no registries here; `gantry image save`, then skopeo"},
      {"save", "here it is `gantry image save`"},
      {"tag", "here it is `gantry image tag`"},
      {"unpause", "here it is `gantry resume`"},
      {"volume", "there is nothing to manage: `gantry run -v SOURCE:PLACE`"}};
  for (const auto& [foreign, hint] : kHints) {
    if (foreign == name) return hint;
  }
  return {};
}

int unknown_command(std::string_view name) {
  if (const std::string_view hint = hint_for(name); !hint.empty()) {
    return fail_usage(cat("\"", name, "\" is not a command: ", hint), "");
  }
  std::vector<std::string_view> names;
  for (const CommandInfo& info : commands()) {
    if (!info.hidden) names.push_back(info.name);
  }
  const std::string_view meant = nearest(name, names);
  return fail_usage(cat("\"", name, "\" is not a command",
                        meant.empty() ? "" : cat("; did you mean \"gantry ", meant, "\"?")),
                    "");
}

// docker's -h is --hostname: `run -h web IMAGE` is not asked for help.
bool names_host(const CommandInfo& info, const std::vector<std::string>& words) {
  if (info.name != "run" && info.name != "create") return false;
  const auto h = std::ranges::find(words, "-h");
  return h != words.end() && h + 1 != words.end() && !(h + 1)->starts_with('-') &&
         std::ranges::find(words.begin(), h, "--help") == h;
}

int run_command(const CommandInfo& info, GlobalOptions& options,
                const std::vector<std::string>& words) {
  const std::unique_ptr<Command> command = info.make();
  Flags flags;
  command->declare(flags);
  flags.know_foreign(foreign_flags(info.name));
  declare_global_flags(flags, options);
  Result<std::vector<std::string>> arguments = flags.parse(words);
  if (options.help && names_host(info, words)) {
    return fail_usage("-h: here it is --hostname NAME; help is --help", info.name);
  }
  if (options.help) {
    write_out(command_help(info));
    return 0;
  }
  if (!arguments) return fail_usage(arguments.error().to_string(), info.name);
  Session session(options);
  const Result<void> prepared = options.prepare();
  const Result<int> status = prepared ? command->run(session, std::move(arguments).value())
                                      : Result<int>(prepared.error());
  if (status) return *status;
  if (is_usage_error(status.error())) {
    return fail_usage(in_plain_words(status.error().to_string()), info.name);
  }
  write_error(in_plain_words(status.error().to_string()));
  return info.failure_status;
}

int run(const std::vector<std::string>& words) {
  GlobalOptions options;
  Flags flags;
  bool version = false;
  declare_global_flags(flags, options);
  flags.toggle('v', "version", &version, "print the version");
  flags.stop_at_first_argument();
  Result<std::vector<std::string>> rest = flags.parse(words);
  if (!rest) return fail_usage(rest.error().to_string(), "");
  if (version) return run_command(*find_command("version"), options, {});
  if (rest->empty()) {
    write_out(overview_help());
    return 0;
  }
  const CommandInfo* info = find_command(rest->front());
  if (info == nullptr) return unknown_command(rest->front());
  rest->erase(rest->begin());
  if (options.help) {
    write_out(command_help(*info));
    return 0;
  }
  return run_command(*info, options, *rest);
}
}  // namespace
}  // namespace gantry::cli

int main(int argc, char** argv) {
  // A standard stream that the caller closed must not become the executor's socket: stdin is empty
  // then, and writing to the others fails.
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // lint: allow cloexec, because a standard stream is inherited by what we exec
    if (::open("/dev/null", O_RDONLY) != fd) return 1;
    if (fd == 1) gantry::cli::note_closed_stdout();
  }
  return gantry::cli::run({argv + 1, argv + argc});
}
