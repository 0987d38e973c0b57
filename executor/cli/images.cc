// gantry images, rmi
#include <algorithm>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
std::string short_digest(std::string_view digest) {
  const size_t colon = digest.find(':');
  return std::string(digest.substr(colon == digest.npos ? 0 : colon + 1).substr(0, 12));
}

class Images final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('q', "quiet", &quiet_, "only digests");
    flags.toggle(0, "no-trunc", &whole_, "whole digests");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    const JsonDocument answer = GANTRY_TRY(session.call(R"({"type":"GANTRY_IMAGES"})"));
    const Json empty_list(rapidjson::kArrayType);
    const std::vector<const Json*> images = list_of(answer, "gantry_images.images");
    if (session.json()) {
      const Json* list = find(answer, "gantry_images.images");
      write_json(list != nullptr ? *list : empty_list);
      return 0;
    }
    Table table({"IMAGE", "DIGEST", "CREATED", "SIZE", "LAYERS"});
    for (const Json* image : images) {
      const std::string digest = text_of(*image, "digest");
      const std::string shown = whole_ ? digest : short_digest(digest);
      if (quiet_) {
        write_out((whole_ ? digest : shown) + "\n");
        continue;
      }
      const int64_t created = integer_of(*image, "created.nanoseconds");
      std::vector<const Json*> names = list_of(*image, "references");
      for (size_t i = 0; i < std::max<size_t>(1, names.size()); ++i) {
        table.add(
            {names.empty() ? "<none>" : names[i]->GetString(), shown,
             created == 0
                 ? ""
                 : cat(format_age(now_seconds() - static_cast<double>(created) / 1e9), " ago"),
             format_bytes(number_of(*image, "size_bytes")), cat(integer_of(*image, "layers"))});
      }
    }
    if (!quiet_) table.write();
    return 0;
  }

 private:
  bool quiet_ = false, whole_ = false;
};

class Rmi final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('f', "force", &force_, "also the names of an image that has several");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "an image"));
    int status = 0;
    for (const std::string& word : words) {
      JsonWriter json;
      json.open().text("type", "GANTRY_REMOVE_IMAGE").open("gantry_remove_image");
      json.text("reference", word);
      if (force_) json.boolean("force", true);
      Result<JsonDocument> answer = session.call(json.close().close().take());
      if (!answer) {
        write_error(answer.error().to_string());
        status = 1;
        continue;
      }
      if (session.json()) {
        write_json_member(*answer, "gantry_remove_image");
        continue;
      }
      for (const Json* name : list_of(*answer, "gantry_remove_image.untagged")) {
        write_out(cat("untagged ", name->GetString(), "\n"));
      }
      for (const Json* digest : list_of(*answer, "gantry_remove_image.deleted")) {
        write_out(cat("removed ", digest->GetString(), "\n"));
      }
    }
    return status;
  }

 private:
  bool force_ = false;
};
}  // namespace

std::unique_ptr<Command> make_images() { return make_command<Images>(); }
std::unique_ptr<Command> make_rmi() { return make_command<Rmi>(); }
}  // namespace gantry::cli
