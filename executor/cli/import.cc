// gantry import
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/printable.h"
#include "base/sys.h"
#include "base/tar_writer.h"
#include "executor/cli/command_list.h"
#include "executor/cli/image_archive.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/upload.h"

namespace gantry::cli {
namespace {
Result<void> send_directory(Upload& upload, const std::string& path) {
  const UniqueFd directory = GANTRY_TRY(sys::open(path, O_RDONLY | O_DIRECTORY));
  TarWriter tar([&upload](std::string_view bytes) { return upload.send(bytes); });
  GANTRY_TRY(tar.add_contents(directory.get(), ""));
  return tar.finish();
}

class Import final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "name", "NAME[:TAG]", &name_,
              "what to call the image (needed for a root file system; default: the archive's own)");
    flags.section("What the image of a root file system says");
    flags.add(0, "entrypoint", "WORD", &entrypoint_, "a word of the command that always runs");
    flags.add(0, "cmd", "WORD", &cmd_, "a word of the default command, or of its arguments");
    flags.add('e', "env", "NAME=VALUE", &env_, "a variable; NAME alone takes the value here");
    flags.add('w', "workdir", "DIR", &workdir_, "the working directory");
    flags.add('u', "user", "USER[:GROUP]", &user_, "who the command runs as");
    flags.add(0, "label", "KEY[=VALUE]", &labels_, "a label");
    flags.add('v', "volume", "PLACE", &volumes_, "a directory that is a volume in each container");
    flags.add(0, "stop-signal", "SIGNAL", &stop_signal_, "how `gantry stop` asks it to end");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 2, "a PATH (- for stdin) and perhaps a name"));
    if (words.size() == 2) {
      if (!name_.empty() && name_ != words[1]) {
        return usage_error(cat("two names: ", name_, " and ", words[1]));
      }
      name_ = words[1];
    }
    const std::string& path = words[0];
    struct ::stat status = {};
    if (path != "-" && ::stat(path.c_str(), &status) != 0) {
      return Error::from_errno(errno, path);
    }
    const bool is_directory = path != "-" && S_ISDIR(status.st_mode);
    const bool is_layout = is_directory && ::access(cat(path, "/oci-layout").c_str(), F_OK) == 0;
    if (is_directory && !is_layout && name_.empty()) {
      return usage_error("a root file system has no name of its own: gantry import PATH NAME");
    }
    // Opened before the executor hears of it: what cannot be read is no import.
    UniqueFd file;
    if (!is_directory) {
      file = path == "-" ? GANTRY_TRY(sys::duplicate(STDIN_FILENO))
                         : GANTRY_TRY(sys::open(path, O_RDONLY));
    }
    const std::string header = GANTRY_TRY(call(is_layout      ? "OCI_LAYOUT"
                                               : is_directory ? "ROOTFS"
                                                              : "AUTO"));
    Connection connection = GANTRY_TRY(session.connect());
    GANTRY_TRY(connection.send_streaming(tar_request(header)));
    Upload upload(connection, "importing");
    Result<void> sent = is_directory ? send_directory(upload, path) : upload.send_file(file.get());
    const HttpResponse response = GANTRY_TRY(upload.finish(std::move(sent)));
    if (response.head.status / 100 != 2) return explain(refusal(response), path);
    return report_images(session, GANTRY_TRY(parse_json(response.body, "the executor's answer")),
                         "imported");
  }

 private:
  Result<std::string> call(std::string_view format) const {
    JsonWriter json;
    json.open().text("type", "GANTRY_IMPORT").open("gantry_import");
    if (!name_.empty()) json.text("reference", name_);
    json.text("format", format);
    write_strings(json, "entrypoint", entrypoint_);
    write_strings(json, "cmd", cmd_);
    GANTRY_TRY(write_env(json, env_));
    write_strings(json, "volumes", volumes_);
    GANTRY_TRY(write_map(json, "labels", "--label", labels_));
    if (!workdir_.empty()) json.text("cwd", workdir_);
    if (!user_.empty()) json.text("user", user_);
    if (!stop_signal_.empty()) json.text("stop_signal", stop_signal_);
    return json.close().close().take();
  }

  // In the words of the command line.
  Error explain(const Error& error, const std::string& path) const {
    constexpr std::string_view kName = "gantry_import.reference: ", kContent = "import: ";
    std::string text = error.to_string();
    if (text.starts_with(kName)) {
      text.replace(0, kName.size(), cat("name \"", name_, "\": "));
    } else if (text.starts_with(kContent)) {
      text.replace(0, kContent.size(), cat(path == "-" ? "stdin" : path, ": "));
    }
    return Error(error.code(), text);
  }

  std::string name_;
  std::vector<std::string> entrypoint_, cmd_, env_, labels_, volumes_;
  std::string workdir_, user_, stop_signal_;
};
}  // namespace

int report_images(const Session& session, const JsonDocument& answer, std::string_view done) {
  if (session.json()) {
    write_json_member(answer, "gantry_import");
    return 0;
  }
  for (const Json* name : list_of(answer, "gantry_import.refused_names")) {
    write_error(cat("left out a name in the archive, which no image can have: \"",
                    printable(name->GetString()), "\""));
  }
  for (const Json* image : list_of(answer, "gantry_import.images")) {
    std::string names;
    for (const Json* name : list_of(*image, "references")) {
      names += cat(names.empty() ? "" : ", ", name->GetString());
    }
    write_out(cat(done, " ", names.empty() ? "" : names + " ", text_of(*image, "digest"), " (",
                  format_bytes(number_of(*image, "size_bytes")), ")\n"));
    if (names.empty()) {
      write_error(
          "it has no name: run it by its digest, or give it one (gantry image tag DIGEST NAME)");
    }
  }
  return 0;
}

std::unique_ptr<Command> make_import() { return make_command<Import>(); }
}  // namespace gantry::cli
