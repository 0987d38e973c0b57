// gantry diff, commit: what a container wrote into its files.
#include "base/printable.h"
#include "base/sys.h"
#include "executor/cli/change_words.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
class Diff final : public Command {
 public:
  void declare(Flags&) override {}

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    Result<JsonDocument> answer =
        session.call(container_call("GANTRY_DIFF", "gantry_diff", words[0]));
    if (!answer) return Error(answer.error().code(), explain_missing(answer.error(), words[0]));
    if (session.json()) {
      const Json* list = find(*answer, "gantry_diff.changes");
      const Json none(rapidjson::kArrayType);
      write_json(list != nullptr ? *list : none);
      return 0;
    }
    std::string out;
    for (const Json* change : list_of(*answer, "gantry_diff.changes")) {
      out += cat(text_of(*change, "kind").substr(0, 1), " ", printable(text_of(*change, "path")),
                 "\n");
    }
    write_out(out);
    return 0;
  }
};

class Commit final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add('m', "message", "TEXT", &message_, "a comment, for `gantry image history`");
    flags.add('a', "author", "TEXT", &author_, "who made it: NAME <MAIL>");
    flags.add('c', "change", "INSTRUCTION", &changes_,
              "what the image is to say, as in a Dockerfile: 'CMD [\"sh\"]', 'ENV A=1'");
    flags.toggle('p', "pause", &pause_,
                 "freeze its processes while its files are read (default; --pause=false: not)");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 2, "a container and the image's name"));
    ImageChanges changes;
    for (const std::string& text : changes_) GANTRY_TRY(changes.add(text));
    const std::string id = sys::random_hex(16);
    Result<JsonDocument> answer = session.call(request(words, changes, id));
    if (!answer && lacks_field(answer.error(), "request_id")) {
      answer = session.call(request(words, changes, {}));
    }
    if (!answer) return explain(answer.error(), words);
    if (session.json()) {
      write_json_member(*answer, "gantry_commit.image");
    } else {
      write_out(text_of(*answer, "gantry_commit.image.digest") + "\n");
    }
    return 0;
  }

 private:
  std::string request(const std::vector<std::string>& words, const ImageChanges& changes,
                      std::string_view id) const {
    JsonWriter json;
    json.open().text("type", "GANTRY_COMMIT").open("gantry_commit");
    json.open("container_id").text("value", words[0]).close();
    if (words.size() == 2) json.text("reference", words[1]);
    if (!author_.empty()) json.text("author", author_);
    if (!message_.empty()) json.text("comment", message_);
    if (!pause_) json.boolean("pause", false);
    if (!id.empty()) json.text("request_id", id);
    changes.write(json);
    return json.close().close().take();
  }

  // In the words of the command line.
  static Error explain(const Error& error, const std::vector<std::string>& words) {
    const std::string text = error.to_string();
    constexpr std::string_view kName = "gantry_commit.reference: ";
    if (text.starts_with(kName)) {
      return usage_error(cat("name \"", words[1], "\": ", text.substr(kName.size())));
    }
    constexpr std::string_view kChanges = "gantry_commit.changes.";
    if (text.starts_with(kChanges)) {
      return usage_error(cat("--change: ", text.substr(kChanges.size())));
    }
    return error;
  }

  std::string message_, author_;
  std::vector<std::string> changes_;
  bool pause_ = true;
};
}  // namespace

std::unique_ptr<Command> make_diff() { return make_command<Diff>(); }
std::unique_ptr<Command> make_commit() { return make_command<Commit>(); }
}  // namespace gantry::cli
