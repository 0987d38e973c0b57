#include "executor/cli/help.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "executor/cli/session.h"
#include "executor/version.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kTagline =
    "lifts containers on and off a machine: run, watch, checkpoint and move them.";
constexpr std::string_view kConnectionSection = "Every command";
constexpr std::string_view kFirstSteps =
    "gantry doctor  # what this host can do\n"
    "gantry import ./rootfs tools  # an image from a directory or a tar\n"
    "gantry run --rm tools echo hello  # a container\n";

struct Example {
  std::string command, comment;
};

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t newline = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, newline));
    text.remove_prefix(std::min(newline + 1, text.size()));
  }
  return lines;
}

std::vector<Example> split_examples(std::string_view text) {
  std::vector<Example> out;
  for (const std::string_view line : split_lines(text)) {
    const size_t hash = line.rfind("  # ");
    std::string command(line.substr(0, std::min(hash, line.size())));
    while (command.ends_with(' ')) command.pop_back();
    out.push_back({command, hash == line.npos ? "" : std::string(line.substr(hash + 4))});
  }
  return out;
}

std::string flag_names(const Flag& flag) {
  std::string out = flag.letter != 0 ? cat("-", flag.letter, ", ") : "    ";
  out += cat("--", flag.name);
  if (!flag.value.empty()) out += cat(" ", flag.value);
  return out;
}

// The last column that is written to: that of the terminal, and of a wide one 98.
size_t last_column() {
  constexpr size_t kMost = 98;
  winsize size = {};
  const bool is_known = ::isatty(STDOUT_FILENO) != 0 &&
                        ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0;
  return is_known ? std::min<size_t>(size.ws_col, kMost) : kMost;
}

// Wrapped, where the first line begins at `column` and the others at `indent`.
std::string wrap(std::string_view text, size_t indent, size_t column) {
  const size_t last = last_column();
  std::string out;
  size_t at = column;
  for (size_t i = 0; i < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", i), text.size());
    const std::string_view word = text.substr(i, end - i);
    if (at > indent && at + 1 + word.size() > last) {
      out += cat("\n", std::string(indent, ' '));
      at = indent;
    } else if (i != 0) {
      out += ' ';
      ++at;
    }
    out += word;
    at += word.size();
    i = end + 1;
  }
  return out;
}

std::string flag_table(const Flags& flags) {
  // Beside the flag, or below it where there is little room.
  const size_t column = last_column() < 60 ? 6 : 32;
  std::string out;
  std::string_view section;
  for (const Flag& flag : flags.all()) {
    if (flag.section != section) {
      section = flag.section;
      out += cat("\n", section, ":\n");
    }
    std::string line = cat("  ", flag_names(flag));
    if (line.size() + 2 > column) {
      out += line + "\n";
      line.clear();
    }
    line.resize(column, ' ');
    const std::string help = cat(flag.help, flag.target.index() == 3 ? " (repeats)" : "");
    out += cat(line, wrap(help, column, column), "\n");
  }
  return out;
}

// To be copied: a command is not wrapped.
std::string example_lines(std::string_view text) {
  std::string out;
  for (const Example& example : split_examples(text)) {
    if (!example.comment.empty()) out += cat("  # ", wrap(example.comment, 4, 4), "\n");
    out += cat("  ", example.command, "\n");
  }
  return out;
}

// The groups in the order of the table.
std::vector<std::string_view> groups() {
  std::vector<std::string_view> out;
  for (const CommandInfo& info : commands()) {
    if (!info.hidden && std::ranges::find(out, info.group) == out.end()) out.push_back(info.group);
  }
  return out;
}

// A command's own flags, then those every command has.
struct Declared {
  std::unique_ptr<Command> command;
  GlobalOptions options;
  Flags own, global;
};
std::unique_ptr<Declared> declare(const CommandInfo& info) {
  auto out = std::make_unique<Declared>();
  out->command = info.make();
  out->command->declare(out->own);
  declare_global_flags(out->global, out->options);
  return out;
}
}  // namespace

void declare_global_flags(Flags& flags, GlobalOptions& options) {
  flags.section(kConnectionSection);
  flags.add(0, "socket", "PATH", &options.socket,
            "the executor's socket (default: GANTRY_SOCKET, else gantry.sock in the runtime "
            "directory)");
  flags.add(0, "runtime-dir", "DIR", &options.runtime_dir,
            "the executor's runtime directory (default: GANTRY_RUNTIME_DIR, else /run/gantry)");
  flags.toggle(0, "here", &options.here,
               "start an executor on demand even outside the namespaces of pid 1");
  flags.add('H', "host", "https://NAME:PORT", &options.host,
            "an executor on another machine, by TLS (default: GANTRY_HOST, else this machine's)");
  flags.add(0, "tls-ca", "FILE", &options.tls_ca,
            "who vouches for it, PEM (default: GANTRY_TLS_CA, else who this system trusts)");
  flags.add(0, "tls-cert", "FILE", &options.tls_cert,
            "our certificate, PEM (default: GANTRY_TLS_CERT, else none)");
  flags.add(0, "tls-key", "FILE", &options.tls_key, "its key, PEM (default: GANTRY_TLS_KEY)");
  flags.add(0, "token-file", "FILE", &options.token_file,
            "the token that lets us in, in a file of mode 600 (default: GANTRY_TOKEN_FILE)");
  flags.toggle(0, "json", &options.json, "print JSON, as docs/json.md says of each command");
  flags.toggle('h', "help", &options.help, "explain the command");
}

std::string overview_help() {
  std::string out =
      cat(wrap(cat("Gantry ", kTagline), 0, 0), "\n\nUsage: gantry COMMAND [flags] [arguments]\n");
  for (const std::string_view group : groups()) {
    out += cat("\n", group, ":\n");
    for (const CommandInfo& info : commands()) {
      if (info.hidden || info.group != group) continue;
      std::string line = cat("  ", info.name);
      line.resize(14, ' ');
      out += cat(line, wrap(info.summary, 14, 14), "\n");
    }
  }
  out += cat("\nFirst steps:\n", example_lines(kFirstSteps), "\n",
             wrap("Every command explains itself: gantry COMMAND --help. No executor has to be "
                  "started first: where none listens, one is started, and it leaves when it is "
                  "not needed.",
                  0, 0),
             "\n");
  return out;
}

std::string command_help(const CommandInfo& info) {
  const auto declared = declare(info);
  std::string out = cat("Usage: gantry ", info.name, info.arguments.empty() ? "" : " ",
                        info.arguments, "\n\n", wrap(info.summary, 0, 0), "\n");
  if (!info.text.empty()) out += cat("\n", wrap(info.text, 0, 0), "\n");
  out += flag_table(declared->own);
  out += flag_table(declared->global);
  if (!info.examples.empty()) out += cat("\nExamples:\n", example_lines(info.examples));
  return out;
}

namespace {
std::string markdown_flags(const Flags& flags) {
  std::string out;
  std::string_view section;
  for (const Flag& flag : flags.all()) {
    if (flag.section != section) {
      section = flag.section;
      out += cat("\n**", section, "**\n\n| flag | meaning |\n|---|---|\n");
    }
    std::string names = flag_names(flag);
    names.erase(0, names.find_first_not_of(' '));
    std::string help(flag.help);
    for (size_t i = 0; (i = help.find('|', i)) != help.npos; i += 2) help.insert(i, "\\");
    for (size_t i = 0; (i = names.find('|', i)) != names.npos; i += 2) names.insert(i, "\\");
    out += cat("| `", names, "` | ", help, flag.target.index() == 3 ? " (repeats)" : "", " |\n");
  }
  return out;
}
}  // namespace

std::string markdown_reference() {
  std::string out =
      "# The command line\n\n"
      "<!-- Written by `gantry help --markdown`; the test cli.docs compares. Change the texts in "
      "executor/cli/commands.cc and the flags beside each command. -->\n\n"
      "Exit statuses: 0 success, 1 a command of Gantry failed, 125 wrong usage or a container that "
      "could not be\nmade, 126 its command cannot be executed, 127 its command was not found, "
      "128+N it was ended by signal N;\notherwise `gantry run` ends with the container's own "
      "status. Errors go to stderr and begin with `gantry: `.\nA container is named by its name, "
      "its id, or a beginning of its id that fits only one.\n";
  for (const std::string_view group : groups()) {
    out += cat("\n## ", group, "\n");
    for (const CommandInfo& info : commands()) {
      if (info.hidden || info.group != group) continue;
      out += cat("\n### gantry ", info.name, "\n\n```\ngantry ", info.name,
                 info.arguments.empty() ? "" : " ", info.arguments, "\n```\n", info.summary, ".\n");
      if (!info.text.empty()) out += cat("\n", info.text, "\n");
      out += markdown_flags(declare(info)->own);
      const std::vector<Example> examples = split_examples(info.examples);
      if (!examples.empty()) out += "\n```sh\n";
      for (const Example& example : examples) {
        out += example.comment.empty() ? cat(example.command, "\n")
                                       : cat(example.command, "  # ", example.comment, "\n");
      }
      if (!examples.empty()) out += "```\n";
    }
  }
  Flags global;
  GlobalOptions options;
  declare_global_flags(global, options);
  out += cat("\n## Flags of every command\n", markdown_flags(global));
  return out;
}

namespace {
std::string roff(std::string_view text) {
  std::string out;
  for (const std::string_view line : split_lines(text)) {
    if (line.starts_with('.') || line.starts_with('\'')) out += "\\&";
    for (const char c : line) {
      if (c == '\\') {
        out += "\\e";
      } else if (c == '-') {
        out += "\\-";
      } else {
        out += c;
      }
    }
    out += "\n";
  }
  return out;
}

std::string roff_flags(const Flags& flags) {
  std::string out;
  for (const Flag& flag : flags.all()) {
    std::string names = flag_names(flag);
    names.erase(0, names.find_first_not_of(' '));
    out += cat(".TP\n.B ", roff(names), roff(flag.help));
  }
  return out;
}
std::string roff_environment() {
  static constexpr std::pair<std::string_view, std::string_view> kVariables[] = {
      {"GANTRY_SOCKET", "the executor's socket"},
      {"GANTRY_RUNTIME_DIR", "the executor's runtime directory"},
      {"GANTRY_DATA_DIR", "its data directory, of one that is started here"},
      {"GANTRY_CGROUP_ROOT", "the cgroup of its containers, of one that is started here"},
      {"GANTRY_HOST", "the executor of another machine, as --host"},
      {"GANTRY_TLS_CA", "who signed its certificate, as --tls-ca"},
      {"GANTRY_TLS_CERT", "who we are to it, as --tls-cert"},
      {"GANTRY_TLS_KEY", "the key of that, as --tls-key"},
      {"GANTRY_TOKEN_FILE", "a token instead, as --token-file"}};
  std::string out = ".SH ENVIRONMENT\n";
  for (const auto& [name, meaning] : kVariables) {
    out += cat(".TP\n.B ", roff(name), roff(meaning));
  }
  return out;
}
}  // namespace

std::string man_page() {
  std::string out =
      cat(".\\\" Written by `gantry help --man`; the test cli.docs compares.\n.TH GANTRY 1 \"\" "
          "\"Gantry ",
          kVersion, "\" \"User Commands\"\n.SH NAME\ngantry \\- ", roff(kTagline),
          ".SH SYNOPSIS\n.B gantry\n.I COMMAND\n[flags] [arguments]\n");
  for (const std::string_view group : groups()) {
    std::string title(group);
    std::ranges::transform(title, title.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    out += cat(".SH ", title, "\n");
    for (const CommandInfo& info : commands()) {
      if (info.hidden || info.group != group) continue;
      out += cat(".SS gantry ", info.name, " ", roff(info.arguments), roff(info.summary), ".PP\n",
                 roff(info.text), roff_flags(declare(info)->own));
      for (const Example& example : split_examples(info.examples)) {
        out +=
            cat(".PP\n", roff(example.comment), ".RS\n.nf\n", roff(example.command), ".fi\n.RE\n");
      }
    }
  }
  Flags global;
  GlobalOptions options;
  declare_global_flags(global, options);
  out +=
      cat(".SH FLAGS OF EVERY COMMAND\n", roff_flags(global),
          ".SH EXIT STATUS\n0 success, 1 a command of Gantry failed, 125 wrong usage or a "
          "container that could not be made, 126 its command cannot be executed, 127 its command "
          "was not found, 128+N it was ended by signal N; otherwise the status of the "
          "container.\n",
          roff_environment());
  return out;
}
}  // namespace gantry::cli
