// Files of a container, out and in: a tar of a path of its root, and a tar into it.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/path_at.h"
#include "base/sys.h"
#include "base/tar_writer.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/layer_writer.h"

namespace gantry::worker {
namespace {
constexpr uint64_t kRead = cap_bit(CAP_DAC_READ_SEARCH) | cap_bit(CAP_DAC_OVERRIDE);
constexpr uint64_t kWrite = cap_bit(CAP_CHOWN) | cap_bit(CAP_DAC_OVERRIDE) | cap_bit(CAP_FOWNER) |
                            cap_bit(CAP_FSETID) | cap_bit(CAP_MKNOD) | cap_bit(CAP_SETFCAP);

// From here on "/" is the container's root, and nothing else has a name. `root`: "namespace" (its
// mount namespace, its root), "directory" (that) or "overlay" (layers, top first; with "upper" two
// more before them).
Result<DirFd> enter_container(const Fields& request, const std::vector<int>& fds) {
  const std::string_view kind = request.get("root");
  if (fds.size() < (kind == "namespace" ? 2u : 1u)) return Error(Errc::invalid, "no root");
  if (kind == "namespace") {
    GANTRY_TRY(enter_namespace(fds[0], fds[1]));
  } else if (kind == "directory") {
    GANTRY_TRY(enter_root(fds[0], Below::keep_mounts));
  } else {
    const bool is_written = request.has("upper");
    const std::vector<int> layers(fds.begin() + (is_written ? 2 : 0), fds.end());
    GANTRY_TRY(enter_overlay(layers, is_written ? fds[0] : -1, is_written ? fds[1] : -1));
  }
  // The way back to the host's mounts. lint: allow close, because they came to us as numbers
  for (int fd : fds) ::close(fd);
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({.open_files = 8192}));
  return DirFd::open("/");
}

Error missing(const Error& error, std::string_view path) {
  if (!error.is_errno(ENOENT) && !error.is_errno(ENOTDIR)) return Error(error).context(path);
  const bool is_self = path.starts_with("/proc/self") || path.starts_with("/proc/thread-self");
  return {
      Errc::not_found,
      cat("there is no ", path, " in the container",
          is_self ? ": that is the process that asks, and none of its own does; take one by its "
                    "number, /proc/1"
                  : "")};
}

// "/a/b/" -> "/a", "b"; the root has no name.
struct Split {
  std::string parent, name;
};
Split split_path(std::string_view path) {
  std::vector<std::string> parts = clean_components(path);
  if (parts.empty()) return {"/", ""};
  std::string name = std::move(parts.back());
  parts.pop_back();
  return {cat("/", join(parts)), std::move(name)};
}

// As rsync and cp: of "link/" the directory is meant that the link leads to.
bool means_directory(std::string_view path) { return path.ends_with('/') || path.ends_with("/."); }

Result<void> collect(const DirFd& root, std::string_view path, TarWriter& tar) {
  const Split split = split_path(path);
  if (split.name.empty() || means_directory(path)) {
    auto directory = root.open_in_root(path, O_RDONLY | O_DIRECTORY);
    if (!directory) return missing(directory.error(), path);
    if (split.name.empty()) return tar.add_contents(directory->get(), "");
    return tar.add(directory->get(), ".", split.name);
  }
  auto parent = root.open_in_root(split.parent, O_RDONLY | O_DIRECTORY);
  if (!parent) return missing(parent.error(), path);
  const auto there = sys::stat_at(parent->get(), split.name.c_str(), AT_SYMLINK_NOFOLLOW);
  if (!there) return missing(there.error(), path);
  GANTRY_TRY(tar.add(parent->get(), split.name, split.name));
  if (S_ISDIR(there->st_mode) || tar.left_out() == 0) return {};
  return Error(Errc::unsupported,
               cat(path, S_ISSOCK(there->st_mode)
                             ? " is a socket: there is nothing in it that could be copied"
                             : " is a device node: there is nothing in it that could be copied; "
                               "as a tar (to -) it is"));
}

// Where a tar goes whose entries are all below one name.
struct Target {
  UniqueFd directory;
  std::optional<std::string> name;  // instead of that name; "": its contents into the directory
  bool was_file = false;
};

Result<Target> find_target(const DirFd& root, std::string_view path, bool contents_only) {
  auto directory = root.open_in_root(path, O_RDONLY | O_DIRECTORY);
  if (directory) {
    Target out{std::move(*directory), {}, false};
    if (contents_only) out.name = "";
    return out;
  }
  const Split split = split_path(path);
  if (means_directory(path) || split.name.empty()) return missing(directory.error(), path);
  auto parent = root.open_in_root(split.parent, O_RDONLY | O_DIRECTORY);
  if (!parent) return missing(parent.error(), split.parent);
  return Target{std::move(*parent), split.name, directory.error().is_errno(ENOTDIR)};
}

// The first part of an entry's path, or of the path a hard link names.
void rename_top(std::string& path, const std::string& name) {
  std::vector<std::string> parts = clean_components(path);
  if (parts.empty()) return;
  parts.erase(parts.begin());
  if (!name.empty()) parts.insert(parts.begin(), name);
  path = parts.empty() ? "." : join(parts);
}
}  // namespace

Result<Fields> collect_job(const Job& job) {
  if (job.fds.size() < 2) return Error(Errc::invalid, "no output");
  const UniqueFd output(job.fds.back());
  const DirFd root = GANTRY_TRY(enter_container(job.request, {job.fds.begin(), job.fds.end() - 1}));
  GANTRY_TRY(keep_capabilities(kRead));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  const bool takes_devices = !job.request.has("no_devices");
  TarWriter tar([&](std::string_view bytes) { return sys::write_all(output.get(), bytes); },
                {.enters_mounts = !job.request.has("stay"),
                 .takes_devices = takes_devices,
                 .keeps_holes = job.request.has("sparse")});
  GANTRY_TRY(collect(root, job.request.get("path"), tar));
  GANTRY_TRY(tar.finish());
  Fields answer;
  answer.add_number("left_out", tar.left_out());
  return answer;
}

Result<Fields> place_job(const Job& job) {
  const DirFd root = GANTRY_TRY(enter_container(job.request, job.fds));
  GANTRY_TRY(keep_capabilities(kWrite));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  Target target =
      GANTRY_TRY(find_target(root, job.request.get("path"), job.request.has("contents")));
  FdInput raw(STDIN_FILENO, {});
  // `cp -` of a compressed tar.
  Inflater inflated(raw, InputLimits().max_bytes, Inflater::Digests::no);
  TarReader reader(inflated);
  std::vector<DirFd> into;
  into.emplace_back(std::move(target.directory));
  LayerWriter writer(std::move(into), WriteAs::copies, {});
  while (auto entry = GANTRY_TRY(reader.next())) {
    if (target.was_file && entry->type == EntryType::directory) {
      return Error(Errc::already_exists, cat(job.request.get("path"), " is no directory"));
    }
    if (target.name) rename_top(entry->path, *target.name);
    if (target.name && entry->type == EntryType::hardlink) rename_top(entry->link, *target.name);
    if (!job.request.has("owners")) entry->uid = entry->gid = 0;
    GANTRY_TRY(writer.apply(*entry, reader));
  }
  GANTRY_TRY(reader.drain());
  GANTRY_TRY(writer.finish());
  Fields answer;
  answer.add_number("entries", writer.entries());
  answer.add_number("bytes", writer.bytes());
  return answer;
}
}  // namespace gantry::worker
