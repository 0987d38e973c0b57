// gantry system info, df: this host's containers and images in numbers.
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <map>
#include <set>
#include <utility>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/version.h"

namespace gantry::cli {
namespace {
// Of images or of containers' files; `unused` could go.
struct Space {
  size_t count = 0, used_count = 0;
  double bytes = 0, unused_bytes = 0;
};

Result<double> sandbox_bytes(Session& session, const std::string& id) {
  JsonWriter json;
  json.open().text("type", "LIST_FILES").open("list_files");
  json.text("path", cat("/containers/", id));
  const Result<JsonDocument> answer = session.call(json.close().close().take());
  // It was removed meanwhile.
  if (!answer && answer.error().is(Errc::not_found)) return 0;
  if (!answer) return answer.error();
  double bytes = 0;
  for (const Json* file : list_of(*answer, "list_files.file_infos")) {
    bytes += number_of(*file, "size");
  }
  return bytes;
}

class System final : public Command {
 public:
  void declare(Flags&) override {}

  Result<int> run(Session& session, std::vector<std::string> words) override {
    if (words.empty()) return usage_error("needs what to show: info or df");
    if (words[0] == "info") {
      GANTRY_TRY(want_arguments(words, 1, 1, "info"));
      return info(session);
    }
    if (words[0] == "df") {
      GANTRY_TRY(want_arguments(words, 1, 1, "df"));
      return df(session);
    }
    if (words[0] == "prune") {
      return usage_error(
          "\"prune\" is not a command of `gantry system`: here it is `gantry prune`");
    }
    const std::string_view meant = nearest(words[0], {"info", "df"});
    return usage_error(cat("\"", words[0], "\" is not a command of `gantry system`",
                           meant.empty() ? std::string(": those are info and df")
                                         : cat("; did you mean \"gantry system ", meant, "\"?")));
  }

 private:
  static Result<JsonDocument> containers(Session& session) {
    return session.call(R"({"type":"GANTRY_LIST","gantry_list":{"all":true}})");
  }
  static Result<JsonDocument> images(Session& session) {
    return session.call(R"({"type":"GANTRY_IMAGES"})");
  }

  static Result<int> info(Session& session) {
    const JsonDocument version = GANTRY_TRY(session.call(R"({"type":"GET_VERSION"})"));
    const JsonDocument listed = GANTRY_TRY(containers(session));
    const JsonDocument stored = GANTRY_TRY(images(session));
    std::map<std::string, int64_t> states;
    for (const Json* container : list_of(listed, "gantry_list.containers")) {
      ++states[text_of(*container, "state")];
    }
    const size_t image_count = list_of(stored, "gantry_images.images").size();
    struct ::utsname host = {};
    struct ::sysinfo memory = {};
    ::uname(&host);
    ::sysinfo(&memory);
    const double bytes = static_cast<double>(memory.totalram) * memory.mem_unit;
    const int64_t cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
    const std::string theirs = text_of(version, "get_version.version_info.version");
    if (session.json()) {
      JsonWriter json;
      json.open().text("version", kVersion).text("executor", theirs);
      json.text("socket", session.location().name()).open("containers");
      for (const auto& [state, count] : states) json.integer(state, count);
      json.close().integer("images", static_cast<int64_t>(image_count));
      json.text("kernel", host.release).text("architecture", host.machine).integer("cpus", cpus);
      write_out(json.integer("memory_bytes", static_cast<int64_t>(bytes)).close().line());
      return 0;
    }
    std::string by_state;
    for (const auto& [state, count] : states) {
      by_state += cat(by_state.empty() ? "" : ", ", count, " ", state);
    }
    write_out(
        cat("gantry:      ", kVersion, "\nexecutor:    ", theirs, " on ", session.location().name(),
            "\ncontainers:  ", by_state.empty() ? "none" : by_state, "\nimages:      ", image_count,
            "\nkernel:      ", host.release, " ", host.machine, "\nCPUs:        ", cpus,
            "\nmemory:      ", format_bytes(bytes), "\n"));
    return 0;
  }

  static Result<int> df(Session& session) {
    const JsonDocument listed = GANTRY_TRY(containers(session));
    const JsonDocument stored = GANTRY_TRY(images(session));
    const JsonDocument usage = GANTRY_TRY(session.call(R"({"type":"GANTRY_DISK_USAGE"})"));
    std::map<std::string, double> written;
    for (const Json* container : list_of(usage, "gantry_disk_usage.containers")) {
      written[text_of(*container, "container_id.value")] = number_of(*container, "written_bytes");
    }
    std::set<std::string> digests;
    Space files, roots, kept;
    for (const Json* container : list_of(listed, "gantry_list.containers")) {
      digests.insert(text_of(*container, "image_digest"));
      const std::string id = text_of(*container, "container_id.value");
      const bool is_over =
          text_of(*container, "state") == "exited" && !flag_of(*container, "restart_due");
      add(files, GANTRY_TRY(sandbox_bytes(session, id)), !is_over);
      if (const auto root = written.find(id); root != written.end()) {
        add(roots, root->second, !is_over);
      }
    }
    for (const Json* image : list_of(stored, "gantry_images.images")) {
      add(kept, number_of(*image, "size_bytes"), digests.contains(text_of(*image, "digest")));
    }
    const std::pair<const char*, const Space&> rows[] = {
        {"images", kept}, {"written", roots}, {"logs", files}};
    if (session.json()) {
      JsonWriter json;
      json.open();
      for (const auto& [name, space] : rows) {
        json.open(name).integer("count", static_cast<int64_t>(space.count));
        json.integer("in_use", static_cast<int64_t>(space.used_count));
        json.integer("bytes", static_cast<int64_t>(space.bytes));
        json.integer("reclaimable_bytes", static_cast<int64_t>(space.unused_bytes)).close();
      }
      write_out(json.close().line());
      return 0;
    }
    Table table({"WHAT", "COUNT", "IN USE", "SIZE", "RECLAIMABLE"});
    for (const auto& [name, space] : rows) {
      table.add({name, cat(space.count), cat(space.used_count), format_bytes(space.bytes),
                 format_bytes(space.unused_bytes)});
    }
    table.write();
    return 0;
  }

  static void add(Space& space, double bytes, bool is_used) {
    ++space.count;
    space.used_count += is_used ? 1 : 0;
    space.bytes += bytes;
    if (!is_used) space.unused_bytes += bytes;
  }
};
}  // namespace

std::unique_ptr<Command> make_system() { return make_command<System>(); }
}  // namespace gantry::cli
