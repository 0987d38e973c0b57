// gantry prune
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
class Prune final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('f', "force", &force_, "do not ask");
    flags.toggle(0, "images", &images_, "also every image that no container uses");
    flags.add(0, "older-than", "DURATION", &older_than_,
              "only containers that ended so long ago: 90s, 30m, 24h");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, 0, "flags"));
    const double seconds =
        older_than_.empty() ? 0 : GANTRY_TRY(parse_seconds("--older-than", older_than_));
    const std::vector<std::string> ended = GANTRY_TRY(ended_containers(session, seconds));
    if (!force_ && !GANTRY_TRY(is_confirmed(ended.size()))) return 1;
    std::vector<std::string> removed;
    int status = 0;
    for (const std::string& id : ended) {
      const Result<JsonDocument> answer =
          session.call(container_call("REMOVE_CONTAINER", "remove_container", id));
      if (answer) {
        removed.push_back(id);
      } else {  // it went, or runs again, meanwhile
        write_error(answer.error().to_string());
        status = 1;
      }
    }
    report(session, removed, images_ ? GANTRY_TRY(prune_images(session)) : std::vector<Image>());
    return status;
  }

 private:
  struct Image {
    std::string digest;
    double bytes = 0;
  };

  static Result<std::vector<std::string>> ended_containers(Session& session, double seconds) {
    const JsonDocument answer =
        GANTRY_TRY(session.call(R"({"type":"GANTRY_LIST","gantry_list":{"all":true}})"));
    std::vector<std::string> out;
    const double latest = now_seconds() - seconds;
    for (const Json* container : list_of(answer, "gantry_list.containers")) {
      const bool has_ended =
          text_of(*container, "state") == "exited" && !flag_of(*container, "restart_due");
      const double finished =
          static_cast<double>(integer_of(*container, "finished.nanoseconds")) / 1e9;
      if (has_ended && finished <= latest) {
        out.push_back(text_of(*container, "container_id.value"));
      }
    }
    return out;
  }

  // Without a terminal to ask at nothing is removed that was not asked for.
  Result<bool> is_confirmed(size_t count) const {
    if (::isatty(STDIN_FILENO) == 0) {
      return usage_error("asks before it removes, and there is no terminal to ask at: give -f");
    }
    ::fprintf(stderr, "Remove %zu ended container%s with %s logs and writable layer%s%s? [y/N] ",
              count, count == 1 ? "" : "s", count == 1 ? "its" : "their", count == 1 ? "" : "s",
              images_ ? ", and every image that no container uses" : "");
    char line[16] = {};
    return ::fgets(line, sizeof line, stdin) != nullptr && (line[0] == 'y' || line[0] == 'Y');
  }

  static Result<std::vector<Image>> list_images(Session& session) {
    const JsonDocument answer = GANTRY_TRY(session.call(R"({"type":"GANTRY_IMAGES"})"));
    std::vector<Image> out;
    for (const Json* image : list_of(answer, "gantry_images.images")) {
      out.push_back({text_of(*image, "digest"), number_of(*image, "size_bytes")});
    }
    return out;
  }

  // Those that are gone. Mesos' PRUNE_IMAGES answers with nothing.
  static Result<std::vector<Image>> prune_images(Session& session) {
    std::vector<Image> before = GANTRY_TRY(list_images(session));
    GANTRY_TRY(session.call(R"({"type":"PRUNE_IMAGES"})"));
    std::set<std::string> left;
    for (const Image& image : GANTRY_TRY(list_images(session))) left.insert(image.digest);
    std::erase_if(before, [&](const Image& image) { return left.contains(image.digest); });
    return before;
  }

  static void report(const Session& session, const std::vector<std::string>& containers,
                     const std::vector<Image>& images) {
    double freed = 0;
    for (const Image& image : images) freed += image.bytes;
    if (session.json()) {
      JsonWriter json;
      json.open().open_list("containers");
      for (const std::string& id : containers) json.item(id);
      json.close_list().open_list("images");
      for (const Image& image : images) json.item(image.digest);
      json.close_list().integer("image_bytes", static_cast<int64_t>(freed));
      write_out(json.close().line());
      return;
    }
    for (const std::string& id : containers) write_out(id + "\n");
    for (const Image& image : images) write_out(image.digest + "\n");
    write_out(
        cat("removed ", containers.size(), containers.size() == 1 ? " container" : " containers",
            images.empty() ? ""
                           : cat(" and ", images.size(), " image", images.size() == 1 ? "" : "s",
                                 " (", format_bytes(freed), ")"),
            "\n"));
  }

  bool force_ = false, images_ = false;
  std::string older_than_;
};
}  // namespace

std::unique_ptr<Command> make_prune() { return make_command<Prune>(); }
}  // namespace gantry::cli
