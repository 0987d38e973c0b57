// gantry image inspect, history, tag, save, load.
#include <algorithm>
#include <utility>

#include "executor/cli/command_list.h"
#include "executor/cli/image_archive.h"
#include "executor/cli/members.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

namespace gantry::cli {
namespace {
class Image final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add('f', "format", "TEXT", &format_,
              "of inspect: a line for each, with members of the JSON: '{{.config.architecture}}'");
    flags.add('o', "output", "FILE", &output_, "of save: where to (default: stdout)");
    flags.add('i', "input", "FILE", &input_, "of load: where from (default: stdin)");
    flags.toggle('q', "quiet", &quiet_, "of load: no progress");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    if (words.empty()) return usage_error("needs what to do: inspect, history, tag, save or load");
    const std::string verb = words[0];
    words.erase(words.begin());
    if (!format_.empty() && (verb != "inspect" || session.json())) {
      return usage_error(verb != "inspect" ? "--format is for `gantry image inspect`"
                                           : "--format and --json each say how it is printed: give "
                                             "one of them");
    }
    if (!output_.empty() && verb != "save")
      return usage_error("--output is for `gantry image save`");
    if (!input_.empty() && verb != "load") return usage_error("--input is for `gantry image load`");
    if (verb == "save") {
      GANTRY_TRY(want_arguments(words, 1, ~0u, "an image"));
      return save_images(session, words, output_);
    }
    if (verb == "load") {
      GANTRY_TRY(want_arguments(words, 0, 0, "-i FILE"));
      return load_images(session, input_, quiet_);
    }
    if (verb == "inspect") return inspect(session, words);
    if (verb == "history") return history(session, words);
    if (verb == "tag") return tag(session, words);
    return unknown(verb);
  }

 private:
  static Error unknown(const std::string& verb) {
    static constexpr std::pair<std::string_view, std::string_view> kElsewhere[] = {
        {"ls", "images"},     {"list", "images"}, {"rm", "rmi"}, {"prune", "prune --images"},
        {"import", "import"}, {"pull", "import"}};
    for (const auto& [word, here] : kElsewhere) {
      if (word == verb) {
        return usage_error(cat(
            "\"", verb, "\" is not a command of `gantry image`: here it is `gantry ", here, "`"));
      }
    }
    const std::string_view meant = nearest(verb, {"inspect", "history", "tag", "save", "load"});
    return usage_error(cat("\"", verb, "\" is not a command of `gantry image`",
                           meant.empty()
                               ? std::string(": those are inspect, history, tag, save and load")
                               : cat("; did you mean \"gantry image ", meant, "\"?")));
  }

  static Result<JsonDocument> ask(Session& session, const std::string& reference) {
    JsonWriter json;
    json.open().text("type", "GANTRY_INSPECT_IMAGE").open("gantry_inspect_image");
    Result<JsonDocument> answer =
        session.call(json.text("reference", reference).close().close().take());
    if (!answer) return Error(answer.error().code(), in_words(answer.error(), reference));
    const Json* found = find(*answer, "gantry_inspect_image");
    if (found == nullptr) return Error(Errc::corrupt, "the executor's answer is empty");
    JsonDocument out(rapidjson::kObjectType);
    out.CopyFrom(*found, out.GetAllocator());
    // The image's own words, as JSON again.
    Result<JsonDocument> config = parse_json(text_of(out, "config"), "the image's configuration");
    if (!config) return std::move(config).error();
    out.RemoveMember("config");
    out.AddMember("config", Json(*config, out.GetAllocator()), out.GetAllocator());
    return out;
  }

  static std::string in_words(const Error& error, const std::string& word) {
    std::string text = error.to_string();
    for (const std::string_view field :
         {"gantry_inspect_image.reference: ", "gantry_tag_image.reference: ",
          "gantry_tag_image.tag: "}) {
      if (text.starts_with(field)) text.replace(0, field.size(), cat("image \"", word, "\": "));
    }
    return text;
  }

  Result<int> inspect(Session& session, const std::vector<std::string>& words) const {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "an image"));
    GANTRY_TRY(check_format(format_));
    GANTRY_TRY(check_members(format_, "GantryInspectImageResponse"));
    JsonDocument list(rapidjson::kArrayType);
    int status = 0;
    for (const std::string& word : words) {
      const Result<JsonDocument> image = ask(session, word);
      if (!image) {
        write_error(image.error().to_string());
        status = status_of(image.error());
        continue;
      }
      list.PushBack(Json(*image, list.GetAllocator()), list.GetAllocator());
    }
    if (!format_.empty()) {
      for (const Json& image : list.GetArray()) {
        write_out(GANTRY_TRY(fill_in(format_, image)) + "\n");
      }
    } else if (session.json()) {
      write_json(list);
    } else {
      write_out(to_pretty_text(list) + "\n");
    }
    return status;
  }

  // The newest step first, as docker. A step that changed no file has no layer.
  static Result<int> history(Session& session, const std::vector<std::string>& words) {
    GANTRY_TRY(want_arguments(words, 1, 1, "one image"));
    const JsonDocument steps = steps_of(GANTRY_TRY(ask(session, words[0])));
    if (session.json()) {
      write_json(steps);
      return 0;
    }
    Table table({"CREATED", "SIZE", "MADE BY", "COMMENT"});
    for (const Json& step : steps.GetArray()) {
      const bool is_known = step.MemberCount() > 1;
      table.add({text_of(step, "created", "-").substr(0, 19),
                 format_bytes(number_of(step, "size_bytes")),
                 one_line(text_of(step, "created_by"), 60),
                 is_known ? text_of(step, "comment") : "nothing is known of how it was made"});
    }
    table.write();
    return 0;
  }

  // The image's own words about each, and the size; of the layers that it says nothing of, the
  // size alone.
  static JsonDocument steps_of(const JsonDocument& image) {
    JsonDocument out(rapidjson::kArrayType);
    auto& allocator = out.GetAllocator();
    const std::vector<const Json*> layers = list_of(image, "layers");
    size_t layer = 0;
    const auto add = [&](Json step, bool is_empty) {
      const bool has_layer = !is_empty && layer < layers.size();
      const int64_t size = has_layer ? integer_of(*layers[layer++], "size_bytes") : 0;
      step.RemoveMember("size_bytes");
      step.AddMember("size_bytes", size, allocator);
      out.PushBack(step, allocator);
    };
    for (const Json* step : list_of(image, "config.history")) {
      if (step->IsObject()) add(Json(*step, allocator), flag_of(*step, "empty_layer"));
    }
    while (layer < layers.size()) add(Json(rapidjson::kObjectType), false);
    std::reverse(out.Begin(), out.End());
    return out;
  }

  static Result<int> tag(Session& session, const std::vector<std::string>& words) {
    GANTRY_TRY(want_arguments(words, 2, 2, "an image and its further name"));
    JsonWriter json;
    json.open().text("type", "GANTRY_TAG_IMAGE").open("gantry_tag_image");
    json.text("reference", words[0]).text("tag", words[1]);
    const Result<JsonDocument> answer = session.call(json.close().close().take());
    if (!answer) {
      const bool is_new_name = answer.error().to_string().starts_with("gantry_tag_image.tag");
      return Error(answer.error().code(), in_words(answer.error(), words[is_new_name ? 1 : 0]));
    }
    write_out(session.json()
                  ? JsonWriter().open().text("image", words[0]).text("tag", words[1]).close().line()
                  : words[1] + "\n");
    return 0;
  }

  std::string format_, output_, input_;
  bool quiet_ = false;
};
}  // namespace

std::unique_ptr<Command> make_image() { return make_command<Image>(); }
}  // namespace gantry::cli
