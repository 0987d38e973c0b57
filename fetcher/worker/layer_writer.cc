#include "fetcher/worker/layer_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "fetcher/worker/tree.h"

namespace gantry::worker {
namespace {
constexpr size_t kMaxOpenDirectories = 200;

Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

Result<void> set_times(int fd, const timespec& mtime) {
  const timespec times[2] = {mtime, mtime};
  if (::futimens(fd, times) != 0) return failed("set the time");
  return {};
}
}  // namespace

LayerWriter::LayerWriter(std::vector<DirFd> layers, WriteAs as, WriteLimits limits)
    : view_(std::move(layers)), as_(as), limits_(limits) {}

Result<void> LayerWriter::apply(const TarEntry& entry, TarReader& reader) {
  if (++entries_ > limits_.max_entries) {
    return Error(Errc::exhausted, cat("more than ", limits_.max_entries, " entries"));
  }
  return place(entry, reader).context("entry '", entry.path.substr(0, 200), "'");
}

Result<void> LayerWriter::place(const TarEntry& entry, TarReader& reader) {
  std::vector<std::string> components = clean_components(entry.path);
  if (components.empty()) return write_root(entry);
  if (as_ == WriteAs::layer && components.back().starts_with(".wh.")) {
    return write_whiteout(std::move(components));
  }
  if (entry.type == EntryType::other) return {};
  Place where = GANTRY_TRY(locate(std::move(components)));
  switch (entry.type) {
    case EntryType::directory:
      return write_directory(entry, where);
    case EntryType::file:
      return write_file(entry, where, reader);
    case EntryType::symlink:
      return write_symlink(entry, where);
    case EntryType::hardlink:
      return write_hardlink(entry, where);
    default:
      return write_node(entry, where);
  }
}

Result<LayerWriter::Place> LayerWriter::locate(std::vector<std::string> components) {
  std::string name = std::move(components.back());
  components.pop_back();
  std::string lexical = join(components);
  // An open directory of that very path needs no resolving: it is real.
  std::string parent = directories_.contains(lexical)
                           ? lexical
                           : GANTRY_TRY(view_.resolve_parent(std::move(components)));
  int fd = GANTRY_TRY(open_directory(parent));
  return Place{fd, std::move(parent), std::move(name)};
}

// The descriptor of a directory of this layer; made, with its parents, where it is missing.
Result<int> LayerWriter::open_directory(const std::string& path) {
  if (auto it = directories_.find(path); it != directories_.end()) return it->second.get();
  auto fd = view_.top().open_beneath(path, O_RDONLY | O_DIRECTORY);
  if (!fd) {
    if (path.empty()) return std::move(fd).error();
    size_t slash = path.rfind('/');
    std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    int parent = GANTRY_TRY(open_directory(above));
    fd = GANTRY_TRY(make_parent(parent, above, name));
  }
  if (directories_.size() >= kMaxOpenDirectories) directories_.clear();
  return directories_.emplace(path, std::move(*fd)).first->second.get();
}

// A directory that the layer uses without an entry of its own looks like the one it covers.
Result<UniqueFd> LayerWriter::make_parent(int parent, const std::string& parent_path,
                                          const std::string& name) {
  std::string path = parent_path.empty() ? name : parent_path + "/" + name;
  bool was_removed = false;
  struct ::stat st;
  if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!is_whiteout(st)) return Error(Errc::invalid, cat("/", path, " is not a directory"));
    if (::unlinkat(parent, name.c_str(), 0) != 0) return failed(cat("replace /", path));
    was_removed = true;
  }
  struct ::stat like{};
  like.st_mode = 0755;
  std::optional<LayerView::Found> lower;
  if (!was_removed) lower = GANTRY_TRY(view_.find(path, LayerView::Start::below_top));
  if (lower && S_ISDIR(lower->st.st_mode)) like = lower->st;
  GANTRY_TRY(sys::mkdir_at(parent, name.c_str(), 0700));
  UniqueFd fd = GANTRY_TRY(sys::open_at(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (as_ != WriteAs::plain_files && ::fchown(fd.get(), like.st_uid, like.st_gid) != 0) {
    return failed(cat("chown /", path));
  }
  if (::fchmod(fd.get(), like.st_mode & 07777) != 0) return failed(cat("chmod /", path));
  if (was_removed && view_.has_lower()) GANTRY_TRY(set_opaque(fd.get(), path));
  if (lower) directory_times_.push_back({path, like.st_mtim});
  return fd;
}

// Removes what this layer already has under the name.
Result<void> LayerWriter::clear_the_way(const Place& where) {
  if (::unlinkat(where.parent, where.name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno == EBUSY && as_ == WriteAs::copies) {
    return Error(Errc::busy, "something is mounted there; `gantry exec` can write into it");
  }
  if (errno != EISDIR && errno != EPERM) return failed("replace what is there");
  if (as_ == WriteAs::copies) {
    return Error(Errc::already_exists, cat("a directory is there: ", where.path()));
  }
  GANTRY_TRY(remove_tree(where.parent, where.name));
  std::string gone = where.path();
  std::erase_if(directories_, [&](const auto& item) {
    return item.first == gone || item.first.starts_with(gone + "/");
  });
  std::erase_if(directory_times_, [&](const Times& item) {
    return item.path == gone || item.path.starts_with(gone + "/");
  });
  return {};
}

Result<void> LayerWriter::set_metadata(int fd, const TarEntry& entry) {
  if (as_ == WriteAs::plain_files) {
    if (::fchmod(fd, entry.mode & 0777) != 0) return failed("chmod");
    return {};
  }
  // ORDER: chown clears setuid bits and file capabilities; both are set after it.
  if (::fchown(fd, entry.uid, entry.gid) != 0) return failed("chown");
  if (::fchmod(fd, entry.mode) != 0) return failed("chmod");
  for (const auto& [name, value] : entry.xattrs) {
    if (!is_wanted_xattr(name)) continue;
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == EOPNOTSUPP && name.starts_with("user.")) continue;
    return failed(cat("set the attribute ", name.substr(0, 100)));
  }
  return {};
}

Result<void> LayerWriter::set_opaque(int directory, const std::string& path) {
  if (path.empty()) {
    root_opaque_ = true;
    view_.hide_lower();
    return {};
  }
  if (::fsetxattr(directory, "trusted.overlay.opaque", "y", 1, 0) != 0) {
    return failed(cat("mark /", path, " as opaque"));
  }
  return {};
}

Result<void> LayerWriter::write_root(const TarEntry& entry) {
  if (entry.type != EntryType::directory) {
    return Error(Errc::invalid, "the archive's root is not a directory");
  }
  int fd = GANTRY_TRY(open_directory(""));
  GANTRY_TRY(set_metadata(fd, entry));
  directory_times_.push_back({"", entry.mtime});
  return {};
}

Result<void> LayerWriter::write_directory(const TarEntry& entry, const Place& where) {
  struct ::stat st;
  bool exists = ::fstatat(where.parent, where.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  bool was_removed = exists && is_whiteout(st);
  if (exists && !S_ISDIR(st.st_mode) && as_ == WriteAs::copies) {
    return Error(Errc::already_exists, cat("no directory is there: ", where.path()));
  }
  if (exists && !S_ISDIR(st.st_mode)) GANTRY_TRY(clear_the_way(where));
  if (!exists || !S_ISDIR(st.st_mode)) {
    GANTRY_TRY(sys::mkdir_at(where.parent, where.name.c_str(), 0700));
  }
  UniqueFd fd = GANTRY_TRY(
      sys::open_at(where.parent, where.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  GANTRY_TRY(set_metadata(fd.get(), entry));
  if (was_removed && view_.has_lower()) GANTRY_TRY(set_opaque(fd.get(), where.path()));
  directory_times_.push_back({where.path(), entry.mtime});
  return {};
}

Result<void> LayerWriter::write_file(const TarEntry& entry, const Place& where, TarReader& reader) {
  if (entry.size > limits_.max_file) {
    return Error(Errc::exhausted, cat("a file of ", entry.size, " bytes"));
  }
  GANTRY_TRY(clear_the_way(where));
  UniqueFd fd = GANTRY_TRY(sys::open_at(where.parent, where.name.c_str(),
                                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  GANTRY_TRY(reader.read_data([&](uint64_t offset, std::string_view data) -> Result<void> {
    if (offset + data.size() > entry.size) {
      return Error(Errc::corrupt, "more data than the entry's size says");
    }
    bytes_ += data.size();
    if (bytes_ > limits_.max_bytes) {
      return Error(Errc::exhausted, cat("more than ", limits_.max_bytes, " bytes of files"));
    }
    while (!data.empty()) {
      ssize_t n = ::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("write");
      offset += static_cast<uint64_t>(n);
      data.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }));
  // A hole at the end.
  if (::ftruncate(fd.get(), static_cast<off_t>(entry.size)) != 0) return failed("set the size");
  GANTRY_TRY(set_metadata(fd.get(), entry));
  return set_times(fd.get(), entry.mtime);
}

Result<void> LayerWriter::write_symlink(const TarEntry& entry, const Place& where) {
  if (entry.link.empty()) return Error(Errc::invalid, "a symbolic link without a target");
  GANTRY_TRY(clear_the_way(where));
  if (::symlinkat(entry.link.c_str(), where.parent, where.name.c_str()) != 0) {
    return failed("make a symbolic link");
  }
  if (as_ != WriteAs::plain_files && ::fchownat(where.parent, where.name.c_str(), entry.uid,
                                                entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("chown a symbolic link");
  }
  const timespec times[2] = {entry.mtime, entry.mtime};
  if (::utimensat(where.parent, where.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("set the time of a symbolic link");
  }
  return {};
}

Result<void> LayerWriter::write_hardlink(const TarEntry& entry, const Place& where) {
  std::vector<std::string> components = clean_components(entry.link);
  if (components.empty()) return Error(Errc::invalid, "a hard link to the root directory");
  std::string name = components.back();
  components.pop_back();
  std::string parent = GANTRY_TRY(view_.resolve_parent(std::move(components)));
  std::string path = parent.empty() ? name : parent + "/" + name;
  if (path == where.path()) return {};  // itself: it is there, or never will be
  auto target = GANTRY_TRY(view_.find(path));
  if (!target) return Error(Errc::invalid, cat("a hard link to /", path, ", which is not there"));
  if (S_ISDIR(target->st.st_mode)) {
    return Error(Errc::invalid, cat("a hard link to the directory /", path));
  }
  // SAFETY: opening the target's directory may drop `where.parent` from the bounded cache.
  Place here{-1, where.parent_path, where.name};
  UniqueFd here_fd = GANTRY_TRY(sys::duplicate(where.parent));
  here.parent = here_fd.get();
  Place there{GANTRY_TRY(open_directory(parent)), parent, name};
  if (target->layer != 0) GANTRY_TRY(copy_up(*target, there));
  UniqueFd there_fd = GANTRY_TRY(sys::duplicate(there.parent));
  GANTRY_TRY(clear_the_way(here));
  // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is a link to the symbolic link.
  if (::linkat(there_fd.get(), name.c_str(), here.parent, here.name.c_str(), 0) != 0) {
    return failed(cat("link to /", path));
  }
  return {};
}

Result<void> LayerWriter::write_node(const TarEntry& entry, const Place& where) {
  if (as_ == WriteAs::plain_files) {
    return Error(Errc::invalid, "a device or fifo, which an archive for a sandbox must not hold");
  }
  mode_t type = entry.type == EntryType::character ? S_IFCHR
                : entry.type == EntryType::block   ? S_IFBLK
                                                   : S_IFIFO;
  dev_t device = type == S_IFIFO ? 0 : makedev(entry.major, entry.minor);
  GANTRY_TRY(clear_the_way(where));
  const char* name = where.name.c_str();
  // With its mode at once (the umask is 0): to change it by name would follow a link that somebody
  // in a running container put there.
  if (::mknodat(where.parent, name, type | (entry.mode & 07777), device) != 0) {
    return failed("make a node");
  }
  if (::fchownat(where.parent, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("chown a node");
  }
  const timespec times[2] = {entry.mtime, entry.mtime};
  if (::utimensat(where.parent, name, times, AT_SYMLINK_NOFOLLOW) != 0) return failed("set a time");
  return {};
}

Result<void> LayerWriter::write_whiteout(std::vector<std::string> components) {
  std::string name = components.back().substr(4);
  components.pop_back();
  bool opaque = name == ".wh..opq";
  if (!opaque && name.starts_with(".wh.")) return {};  // aufs' own bookkeeping
  if (name.empty() || name == "." || name == "..") {
    return Error(Errc::invalid, "a whiteout that names nothing");
  }
  if (!view_.has_lower()) return {};  // nothing below to hide
  std::string parent = GANTRY_TRY(view_.resolve_parent(std::move(components)));
  if (!parent.empty()) {
    auto found = GANTRY_TRY(view_.find(parent));
    if (!found || !S_ISDIR(found->st.st_mode)) return {};
  }
  int fd = GANTRY_TRY(open_directory(parent));
  if (opaque) return set_opaque(fd, parent);
  struct ::stat st;
  if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    // The layer has an entry of that name already: it wins, but nothing of the old directory stays.
    if (!S_ISDIR(st.st_mode)) return {};
    UniqueFd child =
        GANTRY_TRY(sys::open_at(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return set_opaque(child.get(), parent.empty() ? name : parent + "/" + name);
  }
  if (::mknodat(fd, name.c_str(), S_IFCHR, makedev(0, 0)) != 0) return failed("make a whiteout");
  return {};
}

Result<void> LayerWriter::copy_up(const LayerView::Found& from, const Place& where) {
  TarEntry entry;
  entry.mode = from.st.st_mode & 07777;
  entry.uid = from.st.st_uid;
  entry.gid = from.st.st_gid;
  entry.mtime = from.st.st_mtim;
  if (S_ISLNK(from.st.st_mode)) {
    char target[4096];
    ssize_t size = ::readlinkat(from.fd.get(), "", target, sizeof target);
    if (size < 0) return failed("read a link");
    entry.link.assign(target, static_cast<size_t>(size));
    return write_symlink(entry, where);
  }
  if (!S_ISREG(from.st.st_mode)) {
    return Error(Errc::unsupported, "a hard link to a special file of a layer below");
  }
  // An O_PATH descriptor cannot be read, and /proc is out of reach: the name is opened anew.
  UniqueFd in = GANTRY_TRY(view_.layer(from.layer).open_beneath(where.path(), O_RDONLY));
  UniqueFd out = GANTRY_TRY(sys::open_at(where.parent, where.name.c_str(),
                                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  GANTRY_TRY(copy_contents(in.get(), out.get(), from.st.st_size));
  bytes_ += static_cast<uint64_t>(from.st.st_size);
  entry.xattrs = GANTRY_TRY(read_xattrs(in.get()));
  GANTRY_TRY(set_metadata(out.get(), entry));
  return set_times(out.get(), entry.mtime);
}

Result<void> LayerWriter::finish() {
  for (const Times& times : directory_times_) {
    auto fd = view_.top().open_beneath(times.path, O_RDONLY | O_DIRECTORY);
    // A later entry of the same name has replaced the directory.
    if (!fd) continue;
    GANTRY_TRY(set_times(fd->get(), times.mtime).context("/", times.path));
  }
  directories_.clear();
  return {};
}
}  // namespace gantry::worker
