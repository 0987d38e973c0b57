#include "executor/cli/image_archive.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/download.h"
#include "executor/cli/request_words.h"
#include "executor/cli/upload.h"

namespace gantry::cli {
namespace {
// An error about one of the images, in the words of the command line.
Error explain(const Error& error, const std::vector<std::string>& names) {
  const std::string text = error.to_string();
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string field = cat("gantry_save_images.references[", i, "]: ");
    if (!text.starts_with(field)) continue;
    return Error(error.code(), cat("image \"", names[i], "\": ", text.substr(field.size())));
  }
  return error;
}
}  // namespace

Result<int> save_images(Session& session, const std::vector<std::string>& names,
                        const std::string& path) {
  JsonWriter json;
  json.open().text("type", "GANTRY_SAVE_IMAGES").open("gantry_save_images");
  write_strings(json, "references", names);
  Result<void> saved = save_tar(session, json.close().close().take(), path, "saving");
  if (!saved) return explain(saved.error(), names);
  return 0;
}

Result<int> load_images(Session& session, const std::string& path, bool is_quiet) {
  if (path.empty() && ::isatty(STDIN_FILENO) != 0) {
    return usage_error("a terminal is no tar: give -i FILE, or redirect stdin");
  }
  // Opened before the executor hears of it: what cannot be read is not loaded.
  const UniqueFd file = path.empty() ? GANTRY_TRY(sys::duplicate(STDIN_FILENO))
                                     : GANTRY_TRY(sys::open(path, O_RDONLY));
  Connection connection = GANTRY_TRY(session.connect());
  GANTRY_TRY(connection.send_streaming(
      tar_request(R"({"type":"GANTRY_IMPORT","gantry_import":{"format":"IMAGES"}})")));
  Upload upload(connection, "loading", is_quiet);
  const HttpResponse response = GANTRY_TRY(upload.finish(upload.send_file(file.get())));
  if (response.head.status / 100 != 2) {
    const Error error = refusal(response);
    std::string text = error.to_string();
    constexpr std::string_view kContent = "import: ";
    if (text.starts_with(kContent)) {
      text.replace(0, kContent.size(), cat(path.empty() ? "stdin" : path, ": "));
    }
    return Error(error.code(), text);
  }
  return report_images(session, GANTRY_TRY(parse_json(response.body, "the executor's answer")),
                       "loaded");
}
}  // namespace gantry::cli
