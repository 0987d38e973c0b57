// gantry completion, complete: what TAB offers. The shells' scripts only pass on the words; what
// fits is found here, from the table of commands and their flags.
#include <algorithm>
#include <utility>

#include "executor/cli/command_list.h"
#include "executor/cli/help.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
// The shell's own completion of file names.
constexpr std::string_view kFiles = ":files";

constexpr std::string_view kBash =
    R"(# gantry completion for bash: source <(gantry completion bash)
_gantry() {
  local answer
  mapfile -t answer < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ "${answer[0]}" = :files ]; then
    compopt -o default
    COMPREPLY=()
  else
    COMPREPLY=("${answer[@]%%$'\t'*}")
    case ${COMPREPLY[0]} in *[:=]) compopt -o nospace ;; esac
  fi
}
complete -F _gantry gantry
)";
constexpr std::string_view kZsh =
    R"(#compdef gantry
# gantry completion for zsh: a file named _gantry in a directory of $fpath, or source <(gantry completion zsh)
_gantry() {
  local -a answer
  answer=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "${answer[1]}" == :files ]]; then
    _files
  else
    answer=("${(@)${(@)answer//:/\\:}/$'\t'/:}")
    _describe gantry answer
  fi
}
compdef _gantry gantry
)";
constexpr std::string_view kFish =
    R"(# gantry completion for fish: gantry completion fish | source
function __gantry_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l answer ($words[1] complete -- $words[2..-1] 2>/dev/null)
  if test "$answer[1]" = :files
    __fish_complete_path (commandline -ct)
  else
    printf '%s\n' $answer
  end
end
complete -c gantry -f -a '(__gantry_complete)'
)";

class Completion final : public Command {
 public:
  void declare(Flags&) override {}
  Result<int> run(Session&, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "a shell: bash, zsh or fish"));
    static constexpr std::pair<std::string_view, std::string_view> kScripts[] = {
        {"bash", kBash}, {"zsh", kZsh}, {"fish", kFish}};
    for (const auto& [shell, script] : kScripts) {
      if (shell != words[0]) continue;
      write_out(script);
      return 0;
    }
    return usage_error(cat("there is completion for bash, zsh and fish, not for ", words[0]));
  }
};

struct Candidate {
  std::string word, meaning = {};
};
using Candidates = std::vector<Candidate>;

// Empty where no executor listens: TAB starts none.
JsonDocument ask(Session& session, const char* call) {
  Result<Connection> connection = session.connect_to_running();
  if (!connection || !connection->send(Connection::format(api_request(call)))) return {};
  const Result<HttpResponse> response = connection->receive();
  if (!response || response->head.status != 200) return {};
  Result<JsonDocument> parsed = parse_json(response->body, "the answer");
  return parsed ? std::move(*parsed) : JsonDocument();
}

// Names; where there is none, ids.
Candidates containers(Session& session) {
  Candidates out;
  const JsonDocument answer = ask(session, R"({"type":"GANTRY_LIST"})");
  for (const Json* container : list_of(answer, "gantry_list.containers")) {
    const std::string name = text_of(*container, "name");
    out.push_back({name.empty() ? text_of(*container, "container_id.value").substr(0, 12) : name,
                   cat(text_of(*container, "state"), " ", text_of(*container, "image"))});
  }
  return out;
}

Candidates images(Session& session) {
  Candidates out;
  const JsonDocument answer = ask(session, R"({"type":"GANTRY_IMAGES"})");
  for (const Json* image : list_of(answer, "gantry_images.images")) {
    for (const Json* reference : list_of(*image, "references"))
      out.push_back({std::string(reference->GetString(), reference->GetStringLength())});
  }
  return out;
}

Candidates command_names() {
  Candidates out;
  for (const CommandInfo& info : commands()) {
    if (!info.hidden) out.push_back({std::string(info.name), std::string(info.summary)});
  }
  return out;
}

Candidates words_of(std::string_view text) {
  Candidates out;
  for (const std::string_view word : split_words(text, ' ')) out.push_back({std::string(word)});
  return out;
}

// `ps` and `events` have different ones.
Candidates filters_of(std::string_view command) {
  return words_of(command == "ps"
                      ? "name= id= state= status= exited= image= ancestor= label= health="
                      : "type= event= container= image=");
}

Candidates values_of(const Flag& flag, std::string_view command) {
  if (flag.name == "filter") return filters_of(command);
  static constexpr std::pair<std::string_view, std::string_view> kKnown[] = {
      {"network", "none host bridge"},
      {"restart", "no on-failure always unless-stopped"},
      {"health-on-failure", "none kill restart stop"},
      {"signal", "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP"},
      {"stop-signal", "HUP INT QUIT KILL USR1 USR2 TERM"},
      {"security-opt", "seccomp=unconfined no-new-privileges=false systempaths=unconfined"}};
  for (const auto& [name, values] : kKnown) {
    if (name == flag.name) return words_of(values);
  }
  const bool is_path = flag.value.find("FILE") != flag.value.npos ||
                       flag.value.find("DIR") != flag.value.npos ||
                       flag.value.starts_with("PATH") || flag.value.starts_with("DEVICE") ||
                       flag.value.starts_with("SOURCE");
  return is_path ? Candidates{{std::string(kFiles)}} : Candidates();
}

// What stands before the word that is being completed.
struct Before {
  const Flag* wanting_value = nullptr;
  size_t arguments = 0;
};

Before look_back(const std::vector<const Flag*>& flags, const std::vector<std::string>& words) {
  Before out;
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (std::exchange(out.wanting_value, nullptr) != nullptr) continue;
    if (word.size() < 2 || word[0] != '-') {
      ++out.arguments;
      continue;
    }
    const bool is_long = word[1] == '-';
    const auto flag = std::ranges::find_if(flags, [&](const Flag* f) {
      return is_long ? f->name == word.substr(2) : word.back() == f->letter;
    });
    if (flag != flags.end() && !(*flag)->value.empty()) out.wanting_value = *flag;
  }
  return out;
}

// `cp we`: a place in a container, else a file here.
Candidates places(Session& session, std::string_view begun) {
  Candidates out;
  for (Candidate& container : containers(session)) {
    container.word += ':';
    if (container.word.starts_with(begun)) out.push_back(std::move(container));
  }
  return begun.empty() || out.empty() ? Candidates{{std::string(kFiles)}} : out;
}

Candidates arguments_of(Session& session, const CommandInfo& info, size_t before,
                        std::string_view begun) {
  if (info.name == "cp") return places(session, begun);
  if (info.name == "help") return command_names();
  if (info.name == "completion") return words_of("bash zsh fish");
  const bool is_several = info.arguments.find("...") != info.arguments.npos;
  const bool has_command = info.arguments.find("COMMAND") != info.arguments.npos;
  if (info.name == "system") return words_of("info df");
  if (info.name == "image" && before == 0) return words_of("inspect history tag save load");
  if (info.name == "image") return images(session);
  if (before > 0 && (has_command || !is_several)) return {{std::string(kFiles)}};
  if (info.arguments.find("IMAGE") != info.arguments.npos) return images(session);
  if (info.arguments.find("CONTAINER") != info.arguments.npos) return containers(session);
  if (info.name == "executor") return words_of("stop upgrade");
  return {{std::string(kFiles)}};
}

Candidates candidates(Session& session, const std::vector<std::string>& words) {
  if (words.size() < 2) return command_names();
  const CommandInfo* info = find_command(words[0]);
  if (info == nullptr) return {};
  const std::unique_ptr<Command> command = info->make();
  Flags own, global;
  GlobalOptions options;
  command->declare(own);
  declare_global_flags(global, options);
  std::vector<const Flag*> flags;
  for (const Flag& flag : own.all()) flags.push_back(&flag);
  for (const Flag& flag : global.all()) flags.push_back(&flag);
  const Before before = look_back(flags, words);
  if (before.wanting_value != nullptr) return values_of(*before.wanting_value, info->name);
  if (!words.back().starts_with('-'))
    return arguments_of(session, *info, before.arguments, words.back());
  Candidates out;
  for (const Flag* flag : flags) out.push_back({cat("--", flag->name), std::string(flag->help)});
  return out;
}

class Complete final : public Command {
 public:
  void declare(Flags& flags) override { flags.stop_at_first_argument(); }
  Result<int> run(Session& session, std::vector<std::string> words) override {
    const std::string prefix = words.empty() ? "" : words.back();
    for (const Candidate& candidate : candidates(session, words)) {
      const bool is_directive = candidate.word == kFiles;
      if (!is_directive && !candidate.word.starts_with(prefix)) continue;
      write_out(
          cat(candidate.word, candidate.meaning.empty() ? "" : "\t", candidate.meaning, "\n"));
    }
    return 0;
  }
};
}  // namespace

std::unique_ptr<Command> make_completion() { return make_command<Completion>(); }
std::unique_ptr<Command> make_complete() { return make_command<Complete>(); }
}  // namespace gantry::cli
