#include "executor/container_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "base/path_at.h"
#include "executor/output_file.h"
#include "launcher/log_files.h"

namespace gantry {
namespace {
constexpr uint64_t kMaxRead = 64u << 10;
constexpr std::string_view kPrefix = "/containers/";

struct Place {
  std::string sandbox;
  std::string inside;  // relative; empty: the sandbox itself
  std::string prefix;  // "/containers/ID"
};
Result<Place> find_place(const Containerizer& containerizer, std::string_view path) {
  if (!path.starts_with(kPrefix)) {
    return Error(Errc::not_found,
                 cat("path: '", path, "' is none of ours; /containers/ID/stdout is"));
  }
  std::string_view rest = path.substr(kPrefix.size());
  std::string_view id = rest.substr(0, rest.find('/'));
  ContainerPtr container = GANTRY_TRY(containerizer.resolve(id));
  std::string_view inside = rest.substr(std::min(rest.size(), id.size() + 1));
  return Place{containerizer.sandbox_of(*container), std::string(inside), cat(kPrefix, id)};
}

Error as_not_found(Error error, std::string_view path) {
  if (error.is_errno(ENOENT) || error.is_errno(ENOTDIR)) {
    return {Errc::not_found, cat("path: '", path, "' does not exist")};
  }
  if (error.is_errno(ELOOP) || error.is_errno(EXDEV)) {
    return {Errc::invalid, cat("path: '", path, "' leads through a link or out of the sandbox")};
  }
  return error;
}

// Over all its files: an offset means the same byte before and after a rotation.
Result<FilePiece> read_output(const std::string& sandbox, const char* name, const std::string& path,
                              uint64_t offset, uint64_t length) {
  OutputFile file(sandbox, name);
  auto begin = file.seek(0);
  if (!begin && begin.error().is(Errc::corrupt)) {
    return Error(Errc::invalid, cat("path: '", path, "' is not a file"));
  }
  if (!begin) return as_not_found(std::move(begin).error(), path);
  if (!*begin) return Error(Errc::not_found, cat("path: '", path, "' does not exist"));
  FilePiece piece{.begin = **begin};
  GANTRY_TRY(file.seek(UINT64_MAX));
  piece.size = GANTRY_TRY(file.end());
  if (offset >= piece.size || length == 0) return piece;
  const uint64_t at = GANTRY_TRY(file.seek(offset)).value_or(piece.size);
  if (at != offset) {
    return Error(Errc::not_found, cat("path: '", path, "' is there from byte ", at,
                                      " on; what came before was rotated away"));
  }
  piece.data = GANTRY_TRY(file.read(offset, std::min({length, kMaxRead, piece.size - offset})));
  return piece;
}
}  // namespace

Result<FilePiece> read_container_file(const Containerizer& containerizer, const std::string& path,
                                      uint64_t offset, uint64_t length) {
  Place place = GANTRY_TRY(find_place(containerizer, path));
  for (const char* name : kLogNames) {
    if (place.inside == name) return read_output(place.sandbox, name, path, offset, length);
  }
  DirFd sandbox = GANTRY_TRY(DirFd::open(place.sandbox));
  auto file = sandbox.open_beneath(place.inside, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  if (!file) return as_not_found(std::move(file).error(), path);
  struct ::stat st;
  if (::fstat(file->get(), &st) != 0) return Error::from_errno(errno, cat("look at ", path));
  if (!S_ISREG(st.st_mode)) return Error(Errc::invalid, cat("path: '", path, "' is not a file"));
  FilePiece piece{.size = static_cast<uint64_t>(st.st_size), .data = {}};
  if (offset >= piece.size) return piece;
  piece.data.resize(std::min({length, kMaxRead, piece.size - offset}));
  ssize_t n =
      ::pread(file->get(), piece.data.data(), piece.data.size(), static_cast<off_t>(offset));
  if (n < 0) return Error::from_errno(errno, cat("read ", path));
  piece.data.resize(static_cast<size_t>(n));
  return piece;
}

Result<std::vector<FileEntry>> list_container_files(const Containerizer& containerizer,
                                                    const std::string& path) {
  Place place = GANTRY_TRY(find_place(containerizer, path));
  DirFd sandbox = GANTRY_TRY(DirFd::open(place.sandbox));
  auto fd = sandbox.open_beneath(place.inside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) return as_not_found(std::move(fd).error(), path);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd->get()), &::closedir);
  if (!dir) return Error::from_errno(errno, cat("list ", path));
  (void)fd->release();
  std::vector<FileEntry> out;
  while (dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    struct ::stat st;
    if (name == "." || name == ".." ||
        ::fstatat(::dirfd(dir.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    if (out.size() == 10'000) return Error(Errc::exhausted, cat(path, ": more than 10000 entries"));
    out.push_back(
        {.path = cat(place.prefix, "/", place.inside, place.inside.empty() ? "" : "/", name),
         .size = static_cast<uint64_t>(st.st_size),
         .mtime_ns = st.st_mtim.tv_sec * 1'000'000'000LL + st.st_mtim.tv_nsec,
         .mode = st.st_mode,
         .nlink = static_cast<uint32_t>(st.st_nlink),
         // Numbers: looking names up would load code into the executor.
         .user = cat(st.st_uid),
         .group = cat(st.st_gid)});
  }
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.path < b.path; });
  return out;
}
}  // namespace gantry
