// gantry images, rmi
#include <algorithm>
#include <set>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/template.h"

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
    flags.add(0, "format", "TEXT", &format_,
              "a line for each: {{.Name}} {{.Digest}} {{.Created}} {{.Size}} {{.Layers}}, or json");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    const Json none(rapidjson::kObjectType);
    GANTRY_TRY(check_format(format_, cells_of({"", 0, &none})));
    if ((quiet_ ? 1 : 0) + (session.json() ? 1 : 0) + (format_.empty() ? 0 : 1) > 1) {
      return usage_error(
          "--quiet, --json and --format each say how it is printed: give one of them");
    }
    const JsonDocument answer = GANTRY_TRY(session.call(R"({"type":"GANTRY_IMAGES"})"));
    const Json empty_list(rapidjson::kArrayType);
    if (session.json() || format_ == "json") {
      const Json* list = find(answer, "gantry_images.images");
      write_json(list != nullptr ? *list : empty_list);
      return 0;
    }
    const std::vector<Row> rows = sorted_rows(answer);
    if (quiet_) {
      std::set<std::string> seen;
      for (const Row& row : rows) {
        if (seen.insert(digest_of(row)).second) write_out(digest_of(row) + "\n");
      }
      return 0;
    }
    Listing listing({"IMAGE", "DIGEST", "CREATED", "SIZE", "LAYERS"}, format_);
    for (const Row& row : rows) {
      const Cells cells = cells_of(row);
      GANTRY_TRY(listing.add(cells));
    }
    listing.write();
    return 0;
  }

 private:
  // One for each name of an image.
  struct Row {
    std::string name;  // empty: it has none
    int64_t created;
    const Json* image;
  };
  // By name, those without one last; then the newest first.
  static std::vector<Row> sorted_rows(const Json& answer) {
    std::vector<Row> rows;
    for (const Json* image : list_of(answer, "gantry_images.images")) {
      const int64_t created = integer_of(*image, "created.nanoseconds");
      const std::vector<const Json*> names = list_of(*image, "references");
      for (const Json* name : names) rows.push_back({name->GetString(), created, image});
      if (names.empty()) rows.push_back({"", created, image});
    }
    std::ranges::stable_sort(rows, [](const Row& a, const Row& b) {
      if (a.name.empty() != b.name.empty()) return b.name.empty();
      return a.name != b.name ? a.name < b.name : a.created > b.created;
    });
    return rows;
  }
  Cells cells_of(const Row& row) const {
    const double age = now_seconds() - static_cast<double>(row.created) / 1e9;
    return {{"Name", row.name.empty() ? "<none>" : row.name},
            {"Digest", digest_of(row)},
            {"Created", row.created == 0 ? "" : cat(format_age(age), " ago")},
            {"Size", format_bytes(number_of(*row.image, "size_bytes"))},
            {"Layers", cat(integer_of(*row.image, "layers"))}};
  }
  std::string digest_of(const Row& row) const {
    const std::string digest = text_of(*row.image, "digest");
    return whole_ ? digest : short_digest(digest);
  }

  bool quiet_ = false, whole_ = false;
  std::string format_;
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
        status = status_of(answer.error());
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
