#include "containerizer/refusals.h"

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "containerizer/nested.h"

namespace gantry {
namespace {
// What `gantry ps` shows of an id.
constexpr size_t kShortId = 12;

std::optional<uint64_t> number_in(int root_fd, const std::string& file) {
  const Result<std::string> text = sys::read_file_at(root_fd, file.c_str());
  uint64_t value = 0;
  if (!text || !parse_number(trim(*text), value)) return std::nullopt;  // "max", too
  return value;
}

// What leaves no room in a cgroup for so many more.
std::optional<uint64_t> reached_limit(int root_fd, const std::string& directory, uint64_t more) {
  const auto limit = number_in(root_fd, directory + "/pids.max");
  const auto current = number_in(root_fd, directory + "/pids.current");
  return limit && current && *current + more > *limit ? limit : std::nullopt;
}
}  // namespace

Result<void> require_kept(const Container& container) {
  if (!container.removing) return {};
  return Error(Errc::busy, cat("container '", container.id.to_string(), "' is being removed"));
}

Result<void> require_startable(const Container& container) {
  GANTRY_TRY(require_kept(container));
  const bool is_at_rest =
      container.state() == ContainerState::exited || container.state() == ContainerState::created;
  if (!container.parent && is_at_rest) return {};
  return Error(Errc::busy,
               cat("container '", container.id.to_string(), "' is ", to_string(container.state()),
                   ", only a created or an exited one can be started"));
}

Result<void> require_no_id(const std::vector<std::shared_ptr<Container>>& all,
                           std::string_view name, const ContainerId& own) {
  for (const auto& other : all) {
    const std::string& id = other->id.value();
    const bool is_meant = name.size() >= kShortId ? id.starts_with(name) : id == name;
    if (!is_meant || other->id == own || other->parent) continue;
    return Error(Errc::conflict, cat("name: '", name, "' is what container ", id,
                                     " is called by; choose another one"));
  }
  return {};
}

Error name_process_limit(const ContainerCgroups& cgroups, const Container& container, Error error) {
  if (!error.is_errno(EAGAIN) && !error.is(Errc::exhausted)) return error;
  constexpr std::string_view kParents = "parents/";
  const std::string id = outermost(container).id.to_string();
  const auto place = cgroups.place_of(ContainerCgroups::name_of(outermost(container).id), "pids");
  if (!place) return error;
  // What prepares a command is one of them, and may have gone.
  const uint64_t more = container.parent ? 2 : 1;
  if (const auto limit = reached_limit(place->root_fd, place->path, more)) {
    return Error(Errc::exhausted,
                 cat("container '", id, "' is at its limit of ", *limit,
                     " processes: end some of them, or raise it (gantry update --pids N ",
                     id.substr(0, kShortId), ")"));
  }
  std::string directory = place->path;
  while (directory.starts_with(kParents)) {
    directory.resize(directory.rfind('/'));
    if (!directory.starts_with(kParents)) break;
    if (const auto limit = reached_limit(place->root_fd, directory, more)) {
      return Error(
          Errc::exhausted,
          cat("cgroup parent '", directory.substr(kParents.size()), "' is at its limit of ", *limit,
              " processes: end some in its containers, or raise its pids.max"));
    }
  }
  return error;
}
}  // namespace gantry
